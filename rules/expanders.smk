# Expanders: masks from random bipartite graphs, found without data, then strictly sparse training.


# Draw one random graph per layer and turn its edges into a mask.
rule expanders_graph:
    input:
        unpack(plan.inputs("expanders", "find_mask")),
    output:
        mask="results/runs/expanders/{task}/{model}/{method}/{budget}/seed{seed}/mask.h5",
    log:
        "results/logs/expanders/{task}/{model}/{method}/{budget}/seed{seed}/graph.log",
    benchmark:
        "results/benchmarks/expanders/{task}/{model}/{method}/{budget}/seed{seed}/graph.tsv"
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("find_mask")
    resources:
        **plan.resources("find_mask"),
    params:
        **plan.params("expanders", "find_mask"),
    script:
        "../workflow_scripts/find_mask.py"


# Measure a mask as graphs: degrees, spectra, expansion, and the channels that a path reaches.
rule expanders_diagnose:
    input:
        unpack(plan.inputs("expanders", "diagnose")),
    output:
        table="results/runs/expanders/{task}/{model}/{method}/{budget}/seed{seed}/diagnostics.csv",
        record="results/runs/expanders/{task}/{model}/{method}/{budget}/seed{seed}/diagnostics.json",
    log:
        "results/logs/expanders/{task}/{model}/{method}/{budget}/seed{seed}/diagnose.log",
    benchmark:
        "results/benchmarks/expanders/{task}/{model}/{method}/{budget}/seed{seed}/diagnose.tsv"
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("diagnose")
    resources:
        **plan.resources("diagnose"),
    params:
        **plan.params("expanders", "diagnose"),
    script:
        "../workflow_scripts/diagnose.py"


# Train the dense or strictly sparse classifier.
rule expanders_train:
    input:
        unpack(plan.inputs("expanders", "train")),
    output:
        weights="results/runs/expanders/{task}/{model}/{method}/{budget}/seed{seed}/weights.safetensors",
        history="results/runs/expanders/{task}/{model}/{method}/{budget}/seed{seed}/history.h5",
        metrics="results/runs/expanders/{task}/{model}/{method}/{budget}/seed{seed}/metrics.json",
    log:
        "results/logs/expanders/{task}/{model}/{method}/{budget}/seed{seed}/train.log",
    benchmark:
        "results/benchmarks/expanders/{task}/{model}/{method}/{budget}/seed{seed}/train.tsv"
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("train")
    resources:
        **plan.resources("train"),
    params:
        **plan.params("expanders", "train"),
    script:
        "../workflow_scripts/train.py"


rule expanders:
    input:
        plan.finished("expanders"),
        "results/tables/expanders.csv",
