"""A report of whatever runs there are, apart from the whole one, also beside a running pipeline."""

from __future__ import annotations

import csv
from pathlib import Path

from prunelib.runs import Run
from prunelib.storage.lease import Lease
from tests.workflow.conftest import Checkout
from tests.workflow.test_lock import hold

RUNS = [Run("expanders", "classify-digits", "small", "dense", "full", seed) for seed in range(4)]
GRID = {
    "mode": "stub",
    "seeds": [0, 1, 2, 3],
    "data": {"digits": {"source": "digits"}},
    "tasks": {"classify-digits": {"kind": "classify", "data": "digits"}},
    "models": {"small": {"builder": "resnet_small"}},
    "recipes": {"short": {"loop": "classify", "epochs": 1, "batch_size": 8, "lr": 0.1}},
    "grid": {
        "expanders": [{"tasks": ["classify-digits"], "models": ["small"], "methods": ["dense"], "recipe": "short"}]
    },
}


def states(root: Path) -> dict[int, tuple[str, str]]:
    with open(root / "results/partial/tables/all_runs.csv", encoding="utf-8", newline="") as stream:
        return {int(row["seed"]): (row["status"], row["why"]) for row in csv.DictReader(stream)}


def test_what_is_missing_failed_or_running_is_said(checkout: Checkout) -> None:
    checkout.write(GRID)
    root = checkout.path
    checkout.snakemake(f"results/runs/{RUNS[0].path}/metrics.json")
    log = root / "results/logs" / RUNS[1].path / "train.log"
    log.parent.mkdir(parents=True)
    log.write_text("FAILED expanders\nDataError: no pictures.\nFull log: x\n")
    before = {file for file in root.rglob("results/runs/**/*") if file.is_file()}
    pipeline = hold(root)
    try:
        with Lease(root / "results/checkpoints" / RUNS[2].path, "train"):
            refused = checkout.snakemake("report", "--config", "partial=true", check=False)
            checkout.snakemake("report", "--config", "partial=true", "--nolock")
    finally:
        pipeline.kill()
        pipeline.wait()
    assert refused.returncode and "Add --nolock" in refused.stdout + refused.stderr
    found = states(root)
    assert [found[seed][0] for seed in range(4)] == ["ok", "failed", "running", "missing"]
    assert found[1][1] == "DataError: no pictures." and "process" in found[2][1]
    page = (root / "results/partial/report/index.html").read_text()
    assert "1 failed" in page and "1 running" in page and "1 missing" in page and "DataError: no pictures." in page
    assert not (root / "results/report").exists() and not (root / "results/tables").exists()
    assert {file for file in root.rglob("results/runs/**/*") if file.is_file()} == before


def test_it_is_made_anew_when_a_run_has_come(checkout: Checkout) -> None:
    checkout.write(GRID)
    checkout.snakemake("report", "--config", "partial=true")
    assert {state for state, _ in states(checkout.path).values()} == {"missing"}
    checkout.snakemake(f"results/runs/{RUNS[3].path}/metrics.json")
    checkout.snakemake("report", "--config", "partial=true")
    assert states(checkout.path)[3][0] == "ok"
    assert "Nothing to be done" in checkout.snakemake("report", "--config", "partial=true").stderr
