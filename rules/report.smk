# Tables, figures and the page, from whatever runs the configuration asks for.


rule collect:
    input:
        metrics=lambda wildcards: plan.files(wildcards.paper, "metrics.json"),
    output:
        table="results/tables/{paper}.csv",
    log:
        "results/logs/report/collect-{paper}.log",
    benchmark:
        "results/benchmarks/report/collect-{paper}.tsv"
    conda:
        "../envs/report.yaml"
    threads: plan.threads("report")
    resources:
        **plan.resources("report"),
    params:
        code=plan.code("collect"),
    script:
        "../workflow_scripts/collect.py"
