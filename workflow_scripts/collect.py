"""Collect runs into tables: every metrics.json -> tidy CSV tables, and apart from them times and machines."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.report.collect import collect

    tables = {name: path for name, path in step.outputs.items() if name not in ("runtimes", "times")}
    if "table" in tables:
        tables = {tables["table"].stem: tables["table"]}
    more = [step.lists.get(name, []) for name in ("slim", "diagnostics", "costs", "reference", "spent")]
    collect(step.lists["metrics"], tables, step.outputs.get("runtimes"), *more)


if "snakemake" in globals():
    run(snakemake, main, stub=False)
