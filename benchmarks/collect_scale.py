"""Time the tables of 1 000 to 100 000 runs: python benchmarks/collect_scale.py."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is used in place

from benchmarks.common import ROOT, save, timed
from benchmarks.dag_scale import grid
from prunelib.workflow.paths import Place, path
from prunelib.workflow.plan import Plan
from prunelib.workflow.records import SUFFIX, Begun, execution, sealed

EXAMPLES = """examples:
  python benchmarks/collect_scale.py --csv results/reference/benchmarks/collect_scale.csv     minutes on one core
  python benchmarks/collect_scale.py --runs 1000

Stand-ins of the grid of dag_scale.py: each run has metrics and the records of its mask and its training. table_s:
processor time of the table of one part of the grid; record_s: of what the job does besides, that is to hash every file
that it reads and to find the records of the jobs that made them; mb: peak memory of both."""
COLUMNS = ("runs", "table_s", "record_s", "mb")
TABLE = """import sys, time
from pathlib import Path
from prunelib.report.collect import collect
from prunelib.workflow.paths import Place
from prunelib.workflow.records import Begun
files = [Path(line) for line in open("files").read().split()]
times = [time.process_time()]
begun = Begun(Place(Path("results/logs/report/collect-oes.log")), files)
times.append(time.process_time())
collect(files, {"oes": Path("oes.csv")})
times.append(time.process_time())
print(len(begun.digests), len(begun.parents), times[2] - times[1], times[1] - times[0])"""


def main() -> None:
    """Measure every size, print a line of each, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, nargs="+", default=[1000, 10_000, 100_000], help="multiples of 1000")
    parser.add_argument("--csv", type=Path, help="where to write the table")
    given = parser.parse_args()
    rows = [measure(runs) for runs in given.runs]
    if given.csv:
        save(given.csv, __doc__ or "", COLUMNS, rows)


def measure(runs: int) -> tuple[int | float, ...]:
    """Write stand-ins and collect them; return a row."""
    with tempfile.TemporaryDirectory() as folder:
        files = list(write(Path(folder), runs))
        Path(folder, "files").write_text("\n".join(files))
        Path(folder, "prunelib").symlink_to(ROOT / "prunelib")
        said, _, _, memory = timed(folder, [sys.executable, "-c", TABLE])
    read, parents, table, record = map(float, said.split()[-4:])
    assert (read, parents) == (runs, runs), said
    row = (runs, round(table, 1), round(record, 1), round(memory))
    print(", ".join(f"{name} {value}" for name, value in zip(COLUMNS, row, strict=True)), flush=True)
    return row


def write(folder: Path, runs: int) -> Iterator[str]:
    """Write metrics and records of so many runs; yield the files that a table is made of."""
    plan, at = Plan(grid(runs, 50)), Place(Path("results/logs/train.log"))
    facts = {"job": "", "step": "train", "stub": True, "identity": "", "execution": execution({}, 1)}
    template = Begun(at, []).record(facts, {"code": "0" * 16}, {})
    for index, run in enumerate(plan.grid.of("oes")):
        metrics, description = path(run, "metrics.json"), plan.grid.describe(run)
        (folder / metrics).parent.mkdir(parents=True)
        numbers = {"psnr_peak": 25 + index % 997 / 100, "psnr_final": 24.0, "density": 0.5, "macs": 10_000}
        timing = {"wall_s": 1.0, "cpu_s": 1.0, "steps": 10, "step_ms": 100.0, "peak_rss_mb": 100.0}
        head = {"run": description["run"] | {"path": run.path}, "status": "ok", "why": "", "scale": "quick"}
        write_plainly(folder / metrics, head | {"settings": description, "metrics": numbers, "timing": timing})
        for kind, made in (("mask", "mask.h5"), ("train", "metrics.json")):
            own = {"job": f"{run.path}/{kind}", "identity": run.path, "settings": {"settings": description}}
            record = sealed(template | own | {"outputs": {path(run, made): "0" * 64}})
            write_plainly(folder / path(run, f"{kind}{SUFFIX}"), record)
        yield metrics


def write_plainly(file: Path, content: dict[str, Any]) -> None:
    """Write quicker than ``prunelib.storage.files.write_json``: on one line, without waiting for the disk."""
    file.write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
