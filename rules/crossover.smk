# Crossover: a mask method of one paper on the task of another, at equal density.


# Find the mask, whatever method and task.
rule crossover_mask:
    input:
        unpack(plan.inputs("crossover", "find_mask")),
    output:
        mask="results/runs/crossover/{task}/{model}/{method}/{budget}/seed{seed}/mask.h5",
        spent="results/runs/crossover/{task}/{model}/{method}/{budget}/seed{seed}/spent.json",
    log:
        "results/logs/crossover/{task}/{model}/{method}/{budget}/seed{seed}/mask.log",
    benchmark:
        "results/benchmarks/crossover/{task}/{model}/{method}/{budget}/seed{seed}/mask.tsv"
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("find_mask")
    resources:
        **plan.resources("find_mask"),
    params:
        **plan.params("crossover", "find_mask"),
    script:
        "../workflow_scripts/find_mask.py"


# Train the masked network, whatever its loop.
rule crossover_train:
    input:
        unpack(plan.inputs("crossover", "train")),
    output:
        weights="results/runs/crossover/{task}/{model}/{method}/{budget}/seed{seed}/weights.safetensors",
        history="results/runs/crossover/{task}/{model}/{method}/{budget}/seed{seed}/history.h5",
        metrics="results/runs/crossover/{task}/{model}/{method}/{budget}/seed{seed}/metrics.json",
    log:
        "results/logs/crossover/{task}/{model}/{method}/{budget}/seed{seed}/train.log",
    benchmark:
        "results/benchmarks/crossover/{task}/{model}/{method}/{budget}/seed{seed}/train.tsv"
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("train")
    resources:
        **plan.resources("train"),
    params:
        **plan.params("crossover", "train"),
    script:
        "../workflow_scripts/train.py"


# Time, memory and size of the networks of one task and model, dense and compacted, in turn.
rule crossover_measure:
    input:
        unpack(costs.inputs("crossover")),
    output:
        costs="results/costs/crossover/{task}/{model}.json",
    log:
        "results/logs/crossover/{task}/{model}/measure.log",
    benchmark:
        "results/benchmarks/crossover/{task}/{model}/measure.tsv"
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("measure")
    resources:
        **plan.resources("measure"),
    params:
        **costs.params("crossover"),
    script:
        "../workflow_scripts/measure_masked.py"


rule crossover:
    input:
        plan.finished("crossover"),
        costs.files("crossover"),
        "results/tables/crossover.csv",
