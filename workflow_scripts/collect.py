"""Collect runs into tables: every metrics.json -> tidy CSV tables, and apart from them times and machines."""

from pathlib import Path

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.report.collect import collect

    tables = {name: path for name, path in step.outputs.items() if name not in ("runtimes", "times")}
    if "table" in tables:
        tables = {tables["table"].stem: tables["table"]}
    more = [step.lists.get(name, []) for name in ("slim", "diagnostics", "costs", "reference", "spent")]
    metrics = [*step.lists["metrics"], *map(Path, step.params["missing"])]
    collect(metrics, tables, step.outputs.get("runtimes"), *more)


if "snakemake" in globals():
    run(snakemake, main, stub=False)
