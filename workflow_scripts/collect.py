"""Collect runs into tables: every metrics.json -> tidy CSV tables, and apart from them times and machines."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.report.collect import collect

    tables = {name: path for name, path in step.outputs.items() if name != "runtimes"}
    if "table" in tables:
        tables = {tables["table"].stem: tables["table"]}
    more = [step.lists[name] for name in ("slim", "diagnostics", "costs", "reference") if name in step.lists]
    collect(step.lists["metrics"], tables, step.outputs.get("runtimes"), *more)


if "snakemake" in globals():
    run(snakemake, main, stub=False)
