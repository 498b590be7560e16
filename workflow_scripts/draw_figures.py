"""Draw the figures: tables and histories -> SVG, PNG and the CSV behind each."""

from pathlib import Path

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.report.figures import draw_figures

    draw_figures(step.inputs["runs"].parent, step.lists["histories"], Path(step.params["directory"]))


if "snakemake" in globals():
    run(snakemake, main, stub=False)
