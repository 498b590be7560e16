# Optimal Eye Surgeon: masks of an image generator found before training, then sparse training on one noisy photo.


# Search a mask on the untrained generator, score it, prune a trained round (IMP), or take another photo's.
rule oes_mask:
    input:
        unpack(plan.inputs("oes", "find_mask")),
    output:
        mask="results/runs/oes/{task}/{model}/{method}/{budget}/seed{seed}/mask.h5",
    log:
        "results/logs/oes/{task}/{model}/{method}/{budget}/seed{seed}/mask.log",
    benchmark:
        "results/benchmarks/oes/{task}/{model}/{method}/{budget}/seed{seed}/mask.tsv"
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("find_mask")
    resources:
        **plan.resources("find_mask"),
    params:
        settings=lambda wildcards: plan.params("oes", "find_mask", wildcards)["settings"],
        code=lambda wildcards: plan.params("oes", "find_mask", wildcards)["code"],
    script:
        "../workflow_scripts/find_mask.py"


# Fit the dense or masked generator to the noisy photo.
rule oes_train:
    input:
        unpack(plan.inputs("oes", "train")),
    output:
        weights="results/runs/oes/{task}/{model}/{method}/{budget}/seed{seed}/weights.safetensors",
        history="results/runs/oes/{task}/{model}/{method}/{budget}/seed{seed}/history.h5",
        metrics="results/runs/oes/{task}/{model}/{method}/{budget}/seed{seed}/metrics.json",
    log:
        "results/logs/oes/{task}/{model}/{method}/{budget}/seed{seed}/train.log",
    benchmark:
        "results/benchmarks/oes/{task}/{model}/{method}/{budget}/seed{seed}/train.tsv"
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("train")
    resources:
        **plan.resources("train"),
    params:
        settings=lambda wildcards: plan.params("oes", "train", wildcards)["settings"],
        code=lambda wildcards: plan.params("oes", "train", wildcards)["code"],
    script:
        "../workflow_scripts/train.py"


rule oes:
    input:
        plan.finished("oes"),
        "results/tables/oes.csv",
