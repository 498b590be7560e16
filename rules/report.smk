# Tables, figures and the page, from the runs the configuration asks for.
from glob import glob

PUBLISHED = sorted(glob("prunelib/report/published/*.csv"))
# Recorded benchmarks, where there are any: tables, each with the machine beside it.
BENCHMARKS = sorted(glob("results/reference/benchmarks/*.csv"))
RECORDED = sorted(glob("results/reference/*/runs.csv"))  # recorded runs, where there are any
STRUCTURES = sorted(glob("results/reference/*/structures.csv"))  # widths of recorded pruned networks
SEARCHES = sorted(glob("results/reference/*/search.csv"))  # recorded mask searches
REFERENCE = sorted(glob("results/reference/oes-mask-curves/*.csv"))  # beside the published curves


# What figures are drawn from besides tables. A file that is not there is a run without a result.
DRAWN = {
    "histories": plan.files("history.h5"),
    "masks": [file for file in plan.files("mask.h5", "oes") if "/full/" not in file],
    "reference": REFERENCE,
    "structures": [file for file in plan.files("pruned.json", "isomorphic") if "/full/" not in file] + STRUCTURES,
    "benchmarks": BENCHMARKS,
    "maps": plan.maps(),
    "diagnostics": plan.records("diagnostics.json"),
}


rule collect_part:
    input:
        metrics=lambda wildcards: plan.files("metrics.json", wildcards.paper),
        slim=lambda wildcards: plan.records("slim.json", wildcards.paper),
        diagnostics=lambda wildcards: plan.records("diagnostics.json", wildcards.paper),
        spent=lambda wildcards: plan.records("spent.json", wildcards.paper),
        costs=lambda wildcards: costs.files(wildcards.paper),
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


rule collect:
    input:
        plan.everything(),
        PUBLISHED,
        metrics=plan.files("metrics.json"),
        slim=plan.records("slim.json"),
        diagnostics=plan.records("diagnostics.json"),
        spent=plan.records("spent.json"),
        costs=costs.files(),
        reference=RECORDED + SEARCHES + BENCHMARKS,
    output:
        all_runs="results/tables/all_runs.csv",
        summary=report("results/tables/summary.csv", caption="captions/summary.rst", category="Tables"),
        claims=report("results/tables/claims.csv", caption="captions/claims.rst", category="Tables"),
        modes="results/tables/modes.csv",
        scorecard=report("results/tables/scorecard.csv", caption="captions/scorecard.rst", category="Tables"),
        scorecard_points="results/tables/scorecard_points.csv",
        findings="results/tables/findings.csv",
        runtimes="results/provenance/runtimes.csv",
        times="results/provenance/times.csv",
    log:
        "results/logs/report/collect.log",
    benchmark:
        "results/benchmarks/report/collect.tsv"
    conda:
        "../envs/report.yaml"
    threads: plan.threads("report")
    resources:
        **plan.resources("report"),
    params:
        code=plan.code("collect"),
    script:
        "../workflow_scripts/collect.py"


rule draw_figures:
    input:
        PUBLISHED,
        **DRAWN,
        runs="results/tables/all_runs.csv",
        runtimes="results/provenance/runtimes.csv",
    output:
        expand("results/figures/{name}.{kind}", name=list(plan.figures()), kind=["svg", "csv"]),
        [
            report(f"results/figures/{name}.png", caption="captions/figures.rst", category="Figures", labels=labels)
            for name, labels in plan.figures().items()
        ],
    log:
        "results/logs/report/draw_figures.log",
    benchmark:
        "results/benchmarks/report/draw_figures.tsv"
    conda:
        "../envs/report.yaml"
    threads: plan.threads("report")
    resources:
        **plan.resources("report"),
    params:
        code=plan.code("draw_figures"),
        directory=lambda wildcards, output: os.path.dirname(output[0]),
    script:
        "../workflow_scripts/draw_figures.py"


rule write_tables:
    input:
        runs="results/tables/all_runs.csv",
        scorecard="results/tables/scorecard.csv",
    output:
        expand("results/tables/{name}.{kind}", name=[*plan.parts(), "claims"], kind=["tex", "md"]),
    log:
        "results/logs/report/write_tables.log",
    benchmark:
        "results/benchmarks/report/write_tables.tsv"
    conda:
        "../envs/report.yaml"
    threads: plan.threads("report")
    resources:
        **plan.resources("report"),
    params:
        code=plan.code("write_tables"),
        names=[*plan.parts(), "claims"],
    script:
        "../workflow_scripts/write_tables.py"


rule build_page:
    input:
        PUBLISHED,
        rules.write_tables.output,
        findings="results/tables/findings.csv",
        runs="results/tables/all_runs.csv",
        scorecard="results/tables/scorecard.csv",
        modes="results/tables/modes.csv",
        parts=expand("results/tables/{paper}.csv", paper=plan.parts()),
        runtimes="results/provenance/runtimes.csv",
        figures=rules.draw_figures.output,
        benchmarks=BENCHMARKS,
        machines=[file.removesuffix("csv") + "json" for file in BENCHMARKS],
        reference=RECORDED,
        provenance=[file.replace("runs.csv", "provenance.json") for file in RECORDED],
        ranked=sorted(glob("results/reference/*/modes.csv")),
    output:
        page=report("results/report/index.html", caption="captions/page.rst", category="Page"),
    log:
        "results/logs/report/build_page.log",
    benchmark:
        "results/benchmarks/report/build_page.tsv"
    conda:
        "../envs/report.yaml"
    threads: plan.threads("report")
    resources:
        **plan.resources("report"),
    params:
        code=plan.code("build_page"),
        scale=plan.settings.scale,
    script:
        "../workflow_scripts/build_page.py"


rule report:
    input:
        plan.everything(),
        rules.build_page.output,


# Draw the figures anew from what the finished runs left; no run is looked at by the workflow, none is made.
rule figures:
    log:
        "results/logs/report/figures.log",
    benchmark:
        "results/benchmarks/report/figures.tsv"
    conda:
        "../envs/report.yaml"
    threads: plan.threads("report")
    resources:
        **plan.resources("report"),
    params:
        **{name: list(files) for name, files in DRAWN.items()},
        runs="results/tables/all_runs.csv",
        directory="results/figures",
    script:
        "../workflow_scripts/draw_figures.py"
