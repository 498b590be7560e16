# Ising energy: an evolved binary state gates filters while the network trains; then it is slimmed physically.


# Train while an evolved state gates the filters; the state that wins is the mask.
for job in plan.jobs("ising", "search"):

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


# Prune the trained dense network by magnitude to the same kept fraction.
for job in plan.jobs("ising", "mask"):

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


# Train the dense network, or fine-tune a masked one.
for job in plan.jobs("ising", "train"):

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


# Deep Compression's later stages: share the weights of a pruned network, train what they share, write a small file.
for job in plan.jobs("ising", "compress"):

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
        threads: plan.threads("compress")
        resources:
            **plan.resources("compress", job.of),
        params:
            digest=job.digest,
            work=job.work,
        script:
            "../workflow_scripts/compress.py"


# Remove what mask or gates made dead; the output stays equal.
for job in plan.jobs("ising", "slim"):

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
        threads: plan.threads("slim")
        resources:
            **plan.resources("slim", job.of),
        params:
            digest=job.digest,
            work=job.work,
        script:
            "../workflow_scripts/slim.py"


rule ising:
    input:
        lambda wildcards: plan.wanted("ising"),
        "results/tables/ising.csv",
