"""Prepare one data set: source -> results/data/<label>.h5 with splits, checksum and provenance."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.data.prepare import prepare

    prepare(step.params["spec"], step.outputs["data"])


if "snakemake" in globals():
    run(snakemake, main)
