"""Draw the figures: tables and histories -> SVG, PNG and the CSV behind each."""

from pathlib import Path

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.report.figures import draw_figures

    lists, output = step.lists, Path(step.params["directory"])
    draw_figures(step.inputs["runs"].parent, lists["histories"], output, lists["masks"], lists["reference"])


if "snakemake" in globals():
    run(snakemake, main, stub=False)
