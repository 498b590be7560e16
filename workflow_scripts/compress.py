"""Compress one pruned run: share its weights, train what they share, write all of it as a small file."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.training.compress import compress_run

    compress_run(
        step.settings,
        step.inputs,
        step.outputs,
        checkpoints=step.checkpoints,
        checkpoint_seconds=step.checkpoint_seconds,
        device=step.device,
    )


if "snakemake" in globals():
    run(snakemake, main)
