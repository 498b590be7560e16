"""Measure the networks of one task and model side by side: weights and structures -> costs as JSON."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.measure.network import measure_networks

    lists, output = step.lists, step.outputs["costs"]
    measure_networks(step.settings, step.inputs["data"], lists["weights"], lists["structures"], output, step.device)


if "snakemake" in globals():
    run(snakemake, main)
