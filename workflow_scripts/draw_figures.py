"""Draw the figures: tables and what runs left -> SVG, PNG and the CSV behind each."""

from pathlib import Path

from prunelib.workflow.step import Step, run

LISTS = ("histories", "masks", "reference", "structures", "recorded", "maps", "diagnostics")


def main(step: Step) -> None:
    """Call the one function that does it, with inputs or, where figures are only drawn anew, with paths in params."""
    from prunelib.report.figures.draw import draw_figures

    lists = [step.lists[name] for name in LISTS]
    tables = Path(step.inputs.get("runs") or step.params["runs"]).parent
    draw_figures(tables, lists[0], Path(step.params["directory"]), *lists[1:])


if "snakemake" in globals():
    run(snakemake, main, stub=False)
