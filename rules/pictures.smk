# The user's own noisy pictures: one cleaned picture for each file in pictures/ (the papers' grids do not use them).
import sys

from prunelib.workflow.pictures import Pictures

pictures = Pictures(plan.settings)

# Said only to who asks for pictures. Snakemake has not read its targets yet, and of an input function that fails it
# would show the traceback.
if "denoise" in sys.argv:
    try:
        pictures.check()
    except PrunelibError as error:
        raise WorkflowError(f"No picture can be cleaned. {error}") from None


# Find a mask for a generator, train what it keeps on the noisy picture, keep the output.
rule denoise_picture:
    input:
        picture=lambda wildcards: pictures.files[wildcards.picture],
    output:
        denoised="results/denoised/{picture}/denoised.png",
        mask="results/denoised/{picture}/mask.h5",
        curve="results/denoised/{picture}/curve.png",
        table="results/denoised/{picture}/curve.csv",
        record="results/denoised/{picture}/record.json",
    log:
        "results/logs/denoised/{picture}.log",
    benchmark:
        "results/benchmarks/denoised/{picture}.tsv"
    wildcard_constraints:
        picture=pictures.constraint(),
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("denoise")
    resources:
        **plan.resources("denoise"),
    params:
        **pictures.params(),
    script:
        "../workflow_scripts/denoise.py"


rule denoise:
    input:
        pictures.results(),
