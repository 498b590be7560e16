"""Clean one picture of the user's: a noisy picture -> the cleaned one, its mask, its curve and a record."""

from pathlib import Path

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.commands.clean import clean
    from prunelib.config import Pictures

    folder = step.outputs["record"].parent
    work = Path("results/checkpoints/denoised", folder.name)
    options = Pictures(**step.settings)
    clean(step.inputs["picture"], folder, options, work, step.device, step.checkpoint_seconds, force=True)


if "snakemake" in globals():
    run(snakemake, main)
