# Data sets: one rule, whatever the source (embedded, folder, archive, official download). Published weights.


rule prepare_data:
    input:
        lambda wildcards: plan.source_files(wildcards.data),
    output:
        data="results/data/{data}.h5",
    log:
        "results/logs/data/{data}.log",
    benchmark:
        "results/benchmarks/data/{data}.tsv"
    conda:
        "../envs/data.yaml"
    threads: plan.threads("prepare_data")
    resources:
        **plan.resources("prepare_data"),
    params:
        **plan.source_params(),
    script:
        "../workflow_scripts/prepare_data.py"


# Published weights of a timm or torchvision architecture, for a model whose weights are this file.
rule first_weights:
    output:
        weights="results/pretrained/{builder}/{architecture}.safetensors",
        source="results/pretrained/{builder}/{architecture}.source.json",
    log:
        "results/logs/pretrained/{builder}/{architecture}.log",
    benchmark:
        "results/benchmarks/pretrained/{builder}/{architecture}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("first_weights")
    resources:
        **plan.resources("first_weights"),
    params:
        **plan.first_weights_params(),
    script:
        "../workflow_scripts/first_weights.py"


# All data sets and published weights of the grid, for instance where there is a network before the rest runs without.
rule data:
    input:
        lambda wildcards: plan.data() + plan.first_weights(),
