# Isomorphic pruning: train dense, remove channels and heads by rank within isomorphic groups, fine-tune.


# Gradients of the trained dense network over some training data, for all criteria, modes and budgets.
rule isomorphic_statistics:
    input:
        unpack(plan.statistics),
    output:
        statistics="results/statistics/isomorphic/{task}/{model}/seed{seed}/batches{batches}.safetensors",
    log:
        "results/logs/isomorphic/{task}/{model}/dense/full/seed{seed}/statistics{batches}.log",
    benchmark:
        "results/benchmarks/isomorphic/{task}/{model}/dense/full/seed{seed}/statistics{batches}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("gather_statistics")
    resources:
        **plan.resources("gather_statistics"),
    params:
        **plan.statistics_params(),
    script:
        "../workflow_scripts/gather_statistics.py"


# Rank and remove channels and heads of the trained dense network.
for job in plan.jobs("isomorphic", "prune"):

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
        threads: plan.threads("prune_structure")
        resources:
            **plan.resources("prune_structure", job.of),
        params:
            digest=job.digest,
            work=job.work,
        script:
            "../workflow_scripts/prune_structure.py"


# Train the dense network, or fine-tune a pruned one.
for job in plan.jobs("isomorphic", "train"):

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


# Time, memory and size of the networks of one task and model, dense and pruned, in turn.
rule isomorphic_measure:
    input:
        unpack(costs.inputs("isomorphic")),
    output:
        costs="results/costs/isomorphic/{task}/{model}.json",
    log:
        "results/logs/isomorphic/{task}/{model}/measure.log",
    benchmark:
        "results/benchmarks/isomorphic/{task}/{model}/measure.tsv"
    conda:
        "../envs/torch.yaml"
    threads: plan.threads("measure")
    resources:
        **plan.resources("measure"),
    params:
        **costs.params("isomorphic"),
    script:
        "../workflow_scripts/measure.py"


rule isomorphic:
    input:
        lambda wildcards: plan.wanted("isomorphic"),
        costs.files("isomorphic"),
        "results/tables/isomorphic.csv",
