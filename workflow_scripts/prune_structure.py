"""Prune one trained network structurally: the dense run's weights -> a smaller network and its architecture record."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.methods.isomorphic.run import prune_structure

    inputs, statistics = step.inputs, step.inputs.get("statistics")
    prune_structure(step.settings, inputs["data"], inputs["parent"], step.outputs, step.device, statistics)


if "snakemake" in globals():
    run(snakemake, main)
