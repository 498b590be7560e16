"""Slim one trained run: remove what its mask or gates made dead -> a smaller network with the same output."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.compact.slim import slim_run

    slim_run(step.settings, step.inputs["data"], step.inputs, step.outputs)


if "snakemake" in globals():
    run(snakemake, main)
