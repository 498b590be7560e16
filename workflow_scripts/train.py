"""Train one run: data (and mask, start weights or pruned structure) -> weights, history, metrics."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.training.run import train_run

    train_run(
        step.settings,
        step.inputs["data"],
        step.outputs,
        mask=step.inputs.get("mask"),
        start=step.inputs.get("start"),
        structure=step.inputs.get("structure"),
        teacher=step.inputs.get("teacher"),
        checkpoints=step.checkpoints,
        checkpoint_seconds=step.checkpoint_seconds,
        device=step.device,
        processes=step.processes,
    )


if "snakemake" in globals():
    run(snakemake, main)
