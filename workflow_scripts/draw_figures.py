"""Draw the figures: tables and histories -> SVG, PNG and the CSV behind each."""

from pathlib import Path

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.report.figures import draw_figures

    histories, *more = (step.lists[name] for name in ("histories", "masks", "reference", "structures", "benchmarks"))
    draw_figures(step.inputs["runs"].parent, histories, Path(step.params["directory"]), *more)


if "snakemake" in globals():
    run(snakemake, main, stub=False)
