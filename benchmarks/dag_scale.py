"""Time a dry run of grids of 1 000 to 50 000 runs: python benchmarks/dag_scale.py."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is used in place

from matplotlib.figure import Figure

from benchmarks.common import SNAKEMAKE, lay_out, save, timed
from prunelib.report.figures.plots import TASK_LOOKS, style
from prunelib.report.tables import read_table
from prunelib.storage.files import atomic_path

EXAMPLES = """examples:
  python benchmarks/dag_scale.py --csv results/reference/benchmarks/dag_scale.csv      a few minutes on one core
  python benchmarks/dag_scale.py --runs 1000 --batch 1 50
  python benchmarks/dag_scale.py --draw results/reference/benchmarks/dag_scale.csv docs/scaling.svg

One paper, two models, ten methods, ten budgets, five seeds, and as many tasks as it takes. jobs: of Snakemake; s: wall
time of `snakemake -n`; cpu_s: its processor time; mb: its peak memory; plan_s: processor time of prunelib's own part;
job_cpu_s: processor time of one job on a cluster that writes a stand-in for a data set, which every job pays to start
Snakemake, read the workflow and find itself in it."""
COLUMNS = ("runs", "batch", "jobs", "s", "cpu_s", "mb", "plan_s", "job_cpu_s")
PLAN = """import sys, time, yaml
from prunelib.workflow.plan import Plan
raw = yaml.load(open(sys.argv[1]), Loader=yaml.CSafeLoader)
begun = time.process_time()
plan = Plan(raw)
plan.wanted()
print(time.process_time() - begun)"""
# A cluster that runs what is submitted at once, and notes its processor time.
SUBMIT = """import os, subprocess, sys
_, status, used = os.wait4(subprocess.Popen(["sh", sys.argv[1]], stdout=sys.stderr).pid, 0)
print(used.ru_utime + used.ru_stime, file=open("job", "w"))
print(1)"""
SUBMITTED = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", f"{sys.executable} submit.py"]
SUBMITTED += ["--jobs", "1", "--config", "mode=stub", "--", "results/data/photo0.h5"]


def main() -> None:
    """Measure every size with every batch, print a line of each, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=int, nargs="+", default=[1000, 5000, 20_000, 50_000], help="sizes, multiples of 1000"
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[50], help="runs that share a job")
    parser.add_argument("--csv", type=Path, help="where to write the table")
    parser.add_argument("--draw", nargs=2, metavar=("CSV", "SVG"), type=Path, help="draw a table, measure nothing")
    given = parser.parse_args()
    if given.draw:
        return draw(*given.draw)
    rows = [measure(runs, batch) for runs in given.runs for batch in given.batch]
    if given.csv:
        save(given.csv, __doc__ or "", COLUMNS, rows)
    return None


def draw(table: Path, picture: Path) -> None:
    """Draw processor time and memory over the number of runs."""
    rows = read_table(table)
    with style():
        figure = Figure(figsize=(7, 2.4), layout="constrained")
        for axes, column, label in zip(figure.subplots(1, 2), ("cpu_s", "mb"), ("CPU s", "MB"), strict=True):
            axes.plot(rows["runs"] / 1000, rows[column], marker="o", color=TASK_LOOKS[0].colour)
            axes.set(xlabel="thousands of runs", ylabel=label, xlim=0, ylim=0)
        with atomic_path(picture) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


def grid(runs: int, batch: int) -> dict[str, Any]:
    """Return a configuration of so many runs, a multiple of 1000."""
    tasks = range(runs // 1000)
    block = {
        "tasks": ["denoise*"],
        "models": ["hourglass", "decoder"],
        "methods": [f"magnitude{index}" for index in range(10)],
        "budgets": [f"density{percent / 100}" for percent in range(5, 55, 5)],
        "recipe": "fit",
    }
    return {
        "batch": batch,
        "device": "cpu",
        "seeds": [0, 1, 2, 3, 4],
        "data": {f"photo{index}": {"source": "photo", "name": "chelsea", "side": 16 + index} for index in tasks},
        "tasks": {f"denoise{index}": {"kind": "denoise", "data": f"photo{index}", "sigma": 0.1} for index in tasks},
        "models": {"hourglass": {"builder": "hourglass", "channels": [8, 8]}, "decoder": {"builder": "deep_decoder"}},
        "methods": {f"magnitude{index}": {"uses": "magnitude"} for index in range(10)},
        "recipes": {"fit": {"loop": "fit_image", "lr": 0.01, "steps": 10, "log_every": 10}},
        "grid": {"oes": [block]},
    }


def measure(runs: int, batch: int) -> tuple[int | float, ...]:
    """Dry-run one grid in a directory of its own, then do one job as a cluster would; return a row."""
    with tempfile.TemporaryDirectory() as folder:
        lay_out(folder, grid(runs, batch))
        Path(folder, "submit.py").write_text(SUBMIT, encoding="utf-8")
        text, seconds, cpu, memory = timed(folder, [*SNAKEMAKE, "-n", "--cores", "1"])
        jobs = int(re.findall(r"^total +(\d+)$", text, re.MULTILINE)[0])
        timed(folder, [*SNAKEMAKE, *SUBMITTED])
        job_cpu = float(Path(folder, "job").read_text())
        plan = [sys.executable, "-c", PLAN, "grid.yaml"]
        told = subprocess.run(plan, cwd=folder, capture_output=True, text=True, check=True)
    rest = round(seconds, 1), round(cpu, 1), round(memory), round(float(told.stdout), 2), round(job_cpu, 2)
    row = (runs, batch, jobs, *rest)
    print(", ".join(f"{name} {value}" for name, value in zip(COLUMNS, row, strict=True)), flush=True)
    return row


if __name__ == "__main__":
    main()
