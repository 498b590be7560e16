# Optimal Eye Surgeon: masks of an image generator found before training, then sparse training on one noisy photo.


# Search a mask on the untrained generator, score it, prune a trained round (IMP), or take another photo's.
for job in plan.jobs("oes", "mask"):

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


# Fit the dense or masked generator to the noisy photo.
for job in plan.jobs("oes", "train"):

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


# Remove the channels that a mask over norms and biases made dead; the output stays equal. Times a step of both networks.
for job in plan.jobs("oes", "slim"):

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


rule oes:
    input:
        lambda wildcards: plan.wanted("oes"),
        "results/tables/oes.csv",
