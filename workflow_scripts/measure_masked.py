"""Measure the masked networks of one task and model, compacted, side by side -> costs as JSON."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.compact.masked import measure_masked

    lists, output = step.lists, step.outputs["costs"]
    measure_masked(step.settings, step.inputs["data"], lists["weights"], lists["masks"], output, step.device)


if "snakemake" in globals():
    run(snakemake, main)
