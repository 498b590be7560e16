"""Build the page: tables, figures and run times -> one HTML file that needs nothing else."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.report.page.build import build_page

    tables, figures = step.inputs["runs"].parent, step.lists["figures"][0].parent
    recorded = step.lists["benchmarks"], step.lists["reference"]
    build_page(tables, figures, step.inputs["runtimes"], step.outputs["page"], step.params["scale"], *recorded)


if "snakemake" in globals():
    run(snakemake, main, stub=False)
