"""Fetch an architecture's published weights: name -> results/pretrained/<builder>/<name>.safetensors, their source."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.models.published import obtain_weights

    obtain_weights(**step.params["spec"], output=step.outputs["weights"], record=step.outputs["source"])


if "snakemake" in globals():
    run(snakemake, main)
