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
        **plan.params("oes", "find_mask"),
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
        **plan.params("oes", "train"),
    script:
        "../workflow_scripts/train.py"


# Remove the channels that a mask over norms and biases made dead; the output stays equal. Times a step of both networks.
rule oes_slim:
    input:
        unpack(plan.inputs("oes", "slim")),
    output:
        weights="results/runs/oes/{task}/{model}/{method}/{budget}/seed{seed}/slim.safetensors",
        record="results/runs/oes/{task}/{model}/{method}/{budget}/seed{seed}/slim.json",
    log:
        "results/logs/oes/{task}/{model}/{method}/{budget}/seed{seed}/slim.log",
    benchmark:
        "results/benchmarks/oes/{task}/{model}/{method}/{budget}/seed{seed}/slim.tsv"
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("slim")
    resources:
        **plan.resources("slim"),
    params:
        **plan.params("oes", "slim"),
    script:
        "../workflow_scripts/slim.py"


rule oes:
    input:
        plan.finished("oes"),
        "results/tables/oes.csv",
