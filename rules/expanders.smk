# Expanders: masks from random bipartite graphs, found without data, then strictly sparse training.


# Draw one random graph per layer and turn its edges into a mask.
for job in plan.jobs("expanders", "graph"):

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


# Measure a mask as graphs: degrees, spectra, expansion, and the channels that a path reaches.
for job in plan.jobs("expanders", "diagnose"):

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
        threads: plan.threads("diagnose")
        resources:
            **plan.resources("diagnose", job.of),
        params:
            digest=job.digest,
            work=job.work,
        script:
            "../workflow_scripts/diagnose.py"


# Train the dense or strictly sparse classifier.
for job in plan.jobs("expanders", "train"):

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


rule expanders:
    input:
        lambda wildcards: plan.wanted("expanders"),
        "results/tables/expanders.csv",
