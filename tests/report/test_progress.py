"""The state of runs by the files they leave, and what the rest will take."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prunelib.report.progress import FAILED, Progress, as_json, estimate, failure, progress
from prunelib.runs import Run
from prunelib.storage.lease import Lease
from tests.report.trees import write_run


def _run(method="dense", seed=0, paper="expanders", task="classify-x", model="vgg"):
    return Run(paper, task, model, method, "full" if method == "dense" else "degree3", seed)


def _benchmark(root: Path, run: Run, step: str, seconds: float) -> None:
    file = root / "benchmarks" / run.path / f"{step}.tsv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t10\n")


def _log(root: Path, run: Run, step: str, text: str, age: float = 0) -> Path:
    file = root / "logs" / run.path / f"{step}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    os.utime(file, (1e9 - age, 1e9 - age))
    return file


def test_every_state_is_told_from_files(tmp_path):
    done, dead, running, failed, begun, missing = (_run(seed=seed) for seed in range(6))
    write_run(tmp_path, done, {"top1": 0.5})
    write_run(tmp_path, dead, {}, status="dead")
    _benchmark(tmp_path, done, "mask", 2.5)
    _benchmark(tmp_path, done, "train", 4)
    _log(tmp_path, failed, "mask", "all is well\n", age=10)
    _log(tmp_path, failed, "train", f"{FAILED}expanders/x\nDataError: no pictures.\nFull log: somewhere\n")
    (tmp_path / "runs" / begun.path).mkdir(parents=True)
    (tmp_path / "runs" / begun.path / "mask.h5").touch()
    with Lease(tmp_path / "checkpoints" / running.path, "train"):
        found = progress([done, dead, running, failed, begun, missing], tmp_path)
    assert [each.state for each in found] == ["done", "dead", "running", "failed", "begun", "missing"]
    assert [each.seconds for each in found] == [6.5, 13.5, 0, 0, 0, 0]  # without a benchmark of its own: its training
    assert f"process {os.getpid()} on" in found[2].note and found[3].note == "DataError: no pictures."


def test_who_died_holding_a_lease_is_not_running(tmp_path):
    run = _run()
    code = f"import os\nfrom prunelib.storage.lease import Lease\nLease({str(tmp_path / 'checkpoints' / run.path)!r}, "
    subprocess.run([sys.executable, "-c", code + "'train').__enter__(); os._exit(0)"], check=True)
    assert list((tmp_path / "checkpoints" / run.path).iterdir())
    assert progress([run], tmp_path)[0].state == "begun"


def test_a_newer_log_without_failure_clears_an_old_one(tmp_path):
    run = _run()
    _log(tmp_path, run, "train", f"{FAILED}x\nMemoryError\n", age=10)
    assert failure(tmp_path / "logs" / run.path) == "MemoryError"
    _log(tmp_path, run, "mask", "epoch 1\n")
    assert failure(tmp_path / "logs" / run.path) == ""
    _log(tmp_path, run, "mask", "x" * 9000 + f"\n{FAILED}x\nlate\n")
    assert failure(tmp_path / "logs" / run.path) == "late"


@pytest.mark.parametrize("text", ["", "s\n", "s\tx\nnever\t1\n", "a\tb\n1\t2\n"])
def test_a_benchmark_that_is_torn_counts_nothing(tmp_path, text):
    run = _run()
    _benchmark(tmp_path, run, "train", 1)
    (tmp_path / "benchmarks" / run.path / "train.tsv").write_text(text)
    assert progress([run], tmp_path)[0].seconds == 0


def test_metrics_that_are_torn_are_done_all_the_same(tmp_path):
    path = write_run(tmp_path, _run(), {})
    path.write_text(path.read_text()[:20])
    assert progress([_run()], tmp_path)[0].state == "done"


def test_what_is_left_is_what_the_most_alike_took():
    def done(seconds, **labels):
        return Progress(_run(**labels), "done", seconds)

    open_one = Progress(_run("rreg", seed=1), "missing", 0.0)
    assert estimate([open_one]) is None
    others = [done(100, paper="oes", task="denoise-x", model="hourglass"), done(50, model="resnet")]
    assert estimate([open_one, others[0]]) == 100
    assert estimate([open_one, *others]) == 50
    assert estimate([open_one, *others, done(20), done(30)]) == 25
    assert estimate([open_one, *others, done(20), done(8, method="rreg")]) == 8
    spent = Progress(_run("rreg", seed=1), "begun", 3.0)
    assert estimate([spent, done(8, method="rreg")]) == 5
    assert estimate([spent, done(2, method="rreg")]) == 0


def test_json_has_a_line_per_run():
    lines = as_json([Progress(_run(), "failed", 2.0, "why")]).splitlines()
    assert json.loads(lines[0]) == {"path": _run().path, "state": "failed", "seconds": 2.0, "note": "why"}
