"""Find the mask of one run: data (and its parent's weights or mask) -> mask.h5."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.methods.find import find_mask

    find_mask(
        step.settings,
        step.inputs["data"],
        step.outputs["mask"],
        step.inputs.get("parent"),
        step.device,
        checkpoints=step.checkpoints / "search",
        checkpoint_seconds=step.checkpoint_seconds,
        spent=step.outputs.get("spent"),
    )


if "snakemake" in globals():
    run(snakemake, main)
