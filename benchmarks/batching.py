"""Time short runs as jobs of their own and sharing a job: python benchmarks/batching.py."""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is used in place

from benchmarks.common import SNAKEMAKE, lay_out, save, timed

EXAMPLES = """examples:
  python benchmarks/batching.py --csv results/reference/benchmarks/batching.csv       about ten minutes on one core

Sixteen masks of a small VGG (four kinds of graphs, four seeds) are drawn and diagnosed, each time from nothing: 32
short steps, one after another. Batches of all sizes take turns; the table has medians. s: wall time of `snakemake`;
cpu_s: its processor time and that of all it starts; cpu_s_per_step: without what `snakemake -n` takes."""
COLUMNS = ("batch", "jobs", "s", "cpu_s", "cpu_s_per_step")
RUNS = 16
GRID: dict[str, Any] = {
    "device": "cpu",
    "seeds": [0, 1, 2, 3],
    "data": {"digits": {"source": "digits"}},
    "tasks": {"classify": {"kind": "classify", "data": "digits"}},
    "models": {"vgg": {"builder": "vgg", "plan": [16, 32, "M", 64, 64], "hidden": 64, "dropout": 0.0}},
    "methods": {family: {"uses": "expander", "family": family} for family in ("rreg", "xnet", "random")},
    "recipes": {"train": {"loop": "classify", "epochs": 1}},
}
BLOCK = {"tasks": ["classify"], "models": ["vgg"], "methods": [*GRID["methods"], "erk"], "budgets": ["degree2"]}
FILES = [
    f"results/runs/expanders/classify/vgg/{method}/degree2/seed{seed}/diagnostics.json"
    for method in BLOCK["methods"]
    for seed in GRID["seeds"]
]


def main() -> None:
    """Measure every size of batches in turns, print and write the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16], help="runs that share a job")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--csv", type=Path, help="where to write the table")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lay_out(folder, GRID | {"grid": {"expanders": [BLOCK | {"recipe": "train"}]}})
        timed(folder, [*SNAKEMAKE, "--cores", "1", "--", "results/data/digits.h5"])
        rounds = [[measure(folder, batch) for batch in given.batch] for _ in range(given.rounds)]
    rows = []
    for batch, found in zip(given.batch, zip(*rounds, strict=True), strict=True):
        seconds, cpu, per_step = (statistics.median(values) for values in zip(*found, strict=True))
        rows.append((batch, 2 * -(-RUNS // batch), round(seconds, 1), round(cpu, 1), round(per_step, 2)))
        print(", ".join(f"{name} {value}" for name, value in zip(COLUMNS, rows[-1], strict=True)), flush=True)
    if given.csv:
        save(given.csv, __doc__ or "", COLUMNS, rows, rounds=given.rounds)


def measure(folder: str, batch: int) -> tuple[float, float, float]:
    """Make all masks and diagnoses anew; return wall and processor seconds, and those per step without planning."""
    for made in ("runs", "finished", "batches", "logs", "benchmarks"):
        shutil.rmtree(Path(folder, "results", made), ignore_errors=True)
    command = [*SNAKEMAKE, "--cores", "1", "--config", f"batch={batch}"]
    planning = timed(folder, [*command, "-n", "--", *FILES])[2]
    _, seconds, cpu, _ = timed(folder, [*command, "--", *FILES])
    return seconds, cpu, (cpu - planning) / (2 * RUNS)


if __name__ == "__main__":
    main()
