"""Diagnose the mask of one run: degrees, spectra, expansion, live channels -> diagnostics.csv and diagnostics.json."""

from prunelib.workflow.step import Step, run


def main(step: Step) -> None:
    """Call the one function that does it."""
    from prunelib.methods.expander.diagnose import diagnose_run

    diagnose_run(step.settings, step.inputs["data"], step.inputs["mask"], step.outputs["table"], step.outputs["record"])


if "snakemake" in globals():
    run(snakemake, main)
