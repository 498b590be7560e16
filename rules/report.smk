# Tables, figures and the page, from the runs the configuration asks for. What names every run of the grid is a function
# here: each job on a cluster reads this file, and only the job itself, if any, asks for the list.
from glob import glob

PUBLISHED = sorted(glob("prunelib/report/published/*.csv"))
# Recorded benchmarks, where there are any: tables, each with the machine beside it.
BENCHMARKS = sorted(glob("results/reference/benchmarks/*.csv"))
RECORDED = sorted(glob("results/reference/*/runs.csv"))  # recorded runs, where there are any
STRUCTURES = sorted(glob("results/reference/*/structures.csv"))  # widths of recorded pruned networks
SEARCHES = sorted(glob("results/reference/*/search.csv"))  # recorded mask searches
REFERENCE = sorted(glob("results/reference/oes-mask-curves/*.csv"))  # beside the published curves

# Where the report lies: a partial one, of the runs there are, apart from the whole one.
AREA = "partial" if plan.settings.partial else "report"
ROOT = "results/partial" if plan.settings.partial else "results"


def there(files):
    """Return the files a report is made of: all of them, or for a partial one those that are there."""
    return [file for file in files if not plan.settings.partial or os.path.exists(file)]


def absent(files):
    """Return those that a partial report has to do without, so that it can say why."""
    return [file for file in files if plan.settings.partial and not os.path.exists(file)]


def wanted():
    """Return what says that all runs are done, or of a partial report nothing but the runs there are."""
    return there(plan.everything()) if plan.settings.partial else plan.wanted()


def ready(files):
    """Return what a job that reads these files of runs waits for."""
    return there(files) if plan.settings.partial else plan.ready(files)


def records(paper=None):
    """Return the runs' small records that tables are made of, by kind, for a script that waits for all of them."""

    def named():
        names = {"metrics": plan.files("metrics.json", paper)}
        for name in ("slim", "diagnostics", "spent"):
            names[name] = plan.records(f"{name}.json", paper)
        return {name: there(files) for name, files in names.items()}

    return plan.lists(named)


def drawn():
    """Return what figures are drawn from besides tables. A file that is not there is a run without a result."""
    return {
        "histories": there(plan.files("history.h5")),
        "masks": [file for file in there(plan.files("mask.h5", "oes")) if "/full/" not in file],
        "structures": [file for file in there(plan.files("pruned.json", "isomorphic")) if "/full/" not in file],
        "maps": there(plan.maps()),
        "diagnostics": there(plan.records("diagnostics.json")),
    }


def shown():
    """Return these lists for a script, with the widths of recorded pruned networks."""
    found = drawn()
    return found | {"structures": found["structures"] + STRUCTURES}


OTHERS = {"reference": REFERENCE, "recorded": RECORDED + BENCHMARKS}


rule collect_part:
    input:
        lambda wildcards: ready(plan.finished(wildcards.paper)),
        costs=lambda wildcards: there(costs.files(wildcards.paper)),
    output:
        table=f"{ROOT}/tables/{{paper}}.csv",
    log:
        f"results/logs/{AREA}/collect-{{paper}}.log",
    benchmark:
        f"results/benchmarks/{AREA}/collect-{{paper}}.tsv"
    conda:
        "../envs/report.yaml"
    threads: plan.threads("report")
    resources:
        **plan.resources("report"),
    params:
        code=lambda wildcards: plan.code("collect"),
        files=lambda wildcards: records(wildcards.paper),
        missing=lambda wildcards: absent(plan.files("metrics.json", wildcards.paper)),
    script:
        "../workflow_scripts/collect.py"


rule collect:
    input:
        lambda wildcards: ready(plan.everything()),
        PUBLISHED,
        costs=there(costs.files()),
        reference=RECORDED + SEARCHES + BENCHMARKS,
    output:
        all_runs=f"{ROOT}/tables/all_runs.csv",
        summary=report(f"{ROOT}/tables/summary.csv", caption="captions/summary.rst", category="Tables"),
        claims=report(f"{ROOT}/tables/claims.csv", caption="captions/claims.rst", category="Tables"),
        modes=f"{ROOT}/tables/modes.csv",
        scorecard=report(f"{ROOT}/tables/scorecard.csv", caption="captions/scorecard.rst", category="Tables"),
        scorecard_points=f"{ROOT}/tables/scorecard_points.csv",
        findings=f"{ROOT}/tables/findings.csv",
        runtimes=f"{ROOT}/provenance/runtimes.csv",
        times=f"{ROOT}/provenance/times.csv",
    log:
        f"results/logs/{AREA}/collect.log",
    benchmark:
        f"results/benchmarks/{AREA}/collect.tsv"
    conda:
        "../envs/report.yaml"
    threads: plan.threads("report")
    resources:
        **plan.resources("report"),
    params:
        code=lambda wildcards: plan.code("collect"),
        files=records(),
        missing=lambda wildcards: absent(plan.files("metrics.json")),
    script:
        "../workflow_scripts/collect.py"


rule draw_figures:
    input:
        PUBLISHED,
        lambda wildcards: ready(file for files in drawn().values() for file in files),
        STRUCTURES,
        **OTHERS,
        runs=f"{ROOT}/tables/all_runs.csv",
        runtimes=f"{ROOT}/provenance/runtimes.csv",
    output:
        expand(f"{ROOT}/figures/{{name}}.{{kind}}", name=list(plan.figures()), kind=["svg", "csv"]),
        [
            report(f"{ROOT}/figures/{name}.png", caption="captions/figures.rst", category="Figures", labels=labels)
            for name, labels in plan.figures().items()
        ],
    log:
        f"results/logs/{AREA}/draw_figures.log",
    benchmark:
        f"results/benchmarks/{AREA}/draw_figures.tsv"
    conda:
        "../envs/report.yaml"
    threads: plan.threads("report")
    resources:
        **plan.resources("report"),
    params:
        code=lambda wildcards: plan.code("draw_figures"),
        files=plan.lists(shown),
        directory=lambda wildcards, output: os.path.dirname(output[0]),
    script:
        "../workflow_scripts/draw_figures.py"


rule write_tables:
    input:
        runs=f"{ROOT}/tables/all_runs.csv",
        scorecard=f"{ROOT}/tables/scorecard.csv",
    output:
        expand(f"{ROOT}/tables/{{name}}.{{kind}}", name=[*plan.parts(), "claims"], kind=["tex", "md"]),
    log:
        f"results/logs/{AREA}/write_tables.log",
    benchmark:
        f"results/benchmarks/{AREA}/write_tables.tsv"
    conda:
        "../envs/report.yaml"
    threads: plan.threads("report")
    resources:
        **plan.resources("report"),
    params:
        code=lambda wildcards: plan.code("write_tables"),
        names=[*plan.parts(), "claims"],
    script:
        "../workflow_scripts/write_tables.py"


rule build_page:
    input:
        PUBLISHED,
        rules.write_tables.output,
        findings=f"{ROOT}/tables/findings.csv",
        runs=f"{ROOT}/tables/all_runs.csv",
        scorecard=f"{ROOT}/tables/scorecard.csv",
        modes=f"{ROOT}/tables/modes.csv",
        parts=expand(f"{ROOT}/tables/{{paper}}.csv", paper=plan.parts()),
        runtimes=f"{ROOT}/provenance/runtimes.csv",
        figures=rules.draw_figures.output,
        benchmarks=BENCHMARKS,
        machines=[file.removesuffix("csv") + "json" for file in BENCHMARKS],
        reference=RECORDED,
        provenance=[file.replace("runs.csv", "provenance.json") for file in RECORDED],
        ranked=sorted(glob("results/reference/*/modes.csv")),
    output:
        page=report(f"{ROOT}/report/index.html", caption="captions/page.rst", category="Page"),
    log:
        f"results/logs/{AREA}/build_page.log",
    benchmark:
        f"results/benchmarks/{AREA}/build_page.tsv"
    conda:
        "../envs/report.yaml"
    threads: plan.threads("report")
    resources:
        **plan.resources("report"),
    params:
        code=lambda wildcards: plan.code("build_page"),
        scale=plan.settings.scale,
    script:
        "../workflow_scripts/build_page.py"


rule report:
    input:
        lambda wildcards: wanted(),
        rules.build_page.output,


# Draw the figures anew from what the finished runs left; no run is looked at by the workflow, none is made.
rule figures:
    log:
        f"results/logs/{AREA}/figures.log",
    benchmark:
        f"results/benchmarks/{AREA}/figures.tsv"
    conda:
        "../envs/report.yaml"
    threads: plan.threads("report")
    resources:
        **plan.resources("report"),
    params:
        files=plan.lists(lambda: shown() | OTHERS),
        runs=f"{ROOT}/tables/all_runs.csv",
        directory=f"{ROOT}/figures",
    script:
        "../workflow_scripts/draw_figures.py"
