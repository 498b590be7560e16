# Crossover: a mask method of one paper on the task of another, at equal density.


# Find the mask, whatever method and task.
for job in plan.jobs("crossover", "mask"):

    rule:
        name:
            job.name
        input:
            job.inputs,
        output:
            job.outputs,
        log:
            job.log,
        benchmark:
            job.benchmark
        wildcard_constraints:
            **job.constraints,
        conda:
            "../envs/torch.yaml"
        threads: plan.threads("find_mask")
        resources:
            **plan.resources("find_mask", job.of),
        params:
            digest=job.digest,
            work=job.work,
        script:
            "../workflow_scripts/find_mask.py"


# Train the masked network, whatever its loop.
for job in plan.jobs("crossover", "train"):

    rule:
        name:
            job.name
        input:
            job.inputs,
        output:
            job.outputs,
        log:
            job.log,
        benchmark:
            job.benchmark
        wildcard_constraints:
            **job.constraints,
        conda:
            "../envs/torch.yaml"
        threads: plan.threads("train")
        resources:
            **plan.resources("train", job.of),
        params:
            digest=job.digest,
            work=job.work,
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
        lambda wildcards: plan.wanted("crossover"),
        costs.files("crossover"),
        "results/tables/crossover.csv",
