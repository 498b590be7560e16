"""Write the tables in the papers' layouts: all runs and the scorecard -> LaTeX and Markdown."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.report.paper_tables import write_paper_tables

    write_paper_tables(step.inputs["runs"].parent, step.params["names"])


if "snakemake" in globals():
    run(snakemake, main, stub=False)
