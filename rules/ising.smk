# Ising energy: an evolved binary state gates filters while the network trains; then it is slimmed physically.


# Train while an evolved state gates the filters; the state that wins is the mask.
rule ising_search:
    input:
        unpack(plan.inputs("ising", "train")),
    output:
        weights="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/weights.safetensors",
        history="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/history.h5",
        metrics="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/metrics.json",
        mask="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/mask.h5",
    log:
        "results/logs/ising/{task}/{model}/{method}/{budget}/seed{seed}/search.log",
    benchmark:
        "results/benchmarks/ising/{task}/{model}/{method}/{budget}/seed{seed}/search.tsv"
    wildcard_constraints:
        method=plan.methods("training"),
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("train")
    resources:
        **plan.resources("train"),
    params:
        **plan.params("ising", "train"),
    script:
        "../workflow_scripts/train.py"


# Prune the trained dense network by magnitude to the same kept fraction.
rule ising_mask:
    input:
        unpack(plan.inputs("ising", "find_mask")),
    output:
        mask="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/mask.h5",
    log:
        "results/logs/ising/{task}/{model}/{method}/{budget}/seed{seed}/mask.log",
    benchmark:
        "results/benchmarks/ising/{task}/{model}/{method}/{budget}/seed{seed}/mask.tsv"
    wildcard_constraints:
        method=plan.methods("mask"),
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("find_mask")
    resources:
        **plan.resources("find_mask"),
    params:
        **plan.params("ising", "find_mask"),
    script:
        "../workflow_scripts/find_mask.py"


# Train the dense network, or fine-tune a masked one.
rule ising_train:
    input:
        unpack(plan.inputs("ising", "train")),
    output:
        weights="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/weights.safetensors",
        history="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/history.h5",
        metrics="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/metrics.json",
    log:
        "results/logs/ising/{task}/{model}/{method}/{budget}/seed{seed}/train.log",
    benchmark:
        "results/benchmarks/ising/{task}/{model}/{method}/{budget}/seed{seed}/train.tsv"
    wildcard_constraints:
        method=plan.methods("none", "mask"),
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("train")
    resources:
        **plan.resources("train"),
    params:
        **plan.params("ising", "train"),
    script:
        "../workflow_scripts/train.py"


# Deep Compression's later stages: share the weights of a pruned network, train what they share, write a small file.
rule ising_compress:
    input:
        unpack(plan.inputs("ising", "compress")),
    output:
        weights="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/weights.safetensors",
        history="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/history.h5",
        metrics="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/metrics.json",
        compressed="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/compressed.bin",
    log:
        "results/logs/ising/{task}/{model}/{method}/{budget}/seed{seed}/compress.log",
    benchmark:
        "results/benchmarks/ising/{task}/{model}/{method}/{budget}/seed{seed}/compress.tsv"
    wildcard_constraints:
        method=plan.methods("compress"),
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("compress")
    resources:
        **plan.resources("compress"),
    params:
        **plan.params("ising", "compress"),
    script:
        "../workflow_scripts/compress.py"


# Remove what mask or gates made dead; the output stays equal.
rule ising_slim:
    input:
        unpack(plan.inputs("ising", "slim")),
    output:
        weights="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/slim.safetensors",
        record="results/runs/ising/{task}/{model}/{method}/{budget}/seed{seed}/slim.json",
    log:
        "results/logs/ising/{task}/{model}/{method}/{budget}/seed{seed}/slim.log",
    benchmark:
        "results/benchmarks/ising/{task}/{model}/{method}/{budget}/seed{seed}/slim.tsv"
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("slim")
    resources:
        **plan.resources("slim"),
    params:
        **plan.params("ising", "slim"),
    script:
        "../workflow_scripts/slim.py"


rule ising:
    input:
        plan.finished("ising"),
        "results/tables/ising.csv",
