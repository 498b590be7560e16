"""Gather the gradient statistics of one trained network over some of its training data."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.methods.isomorphic.statistics import gather_statistics

    inputs = step.inputs
    gather_statistics(step.settings, inputs["data"], inputs["parent"], step.outputs["statistics"], step.device)


if "snakemake" in globals():
    run(snakemake, main)
