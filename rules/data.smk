# Data sets: one rule, whatever the source (embedded, folder, archive, official download).


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


# All data sets of the grid, for instance where there is a network before the rest runs where there is none.
rule data:
    input:
        plan.data(),
