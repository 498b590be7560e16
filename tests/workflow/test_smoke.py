"""The real algorithms through the real Snakemake on the smallest grid; and the pipeline killed at random moments."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from prunelib.workflow.verify import Verifier
from tests.workflow.conftest import Checkout, environment

SMOKE = ("--configfile", "smoke.yaml")
KILLS = 5


@pytest.fixture
def smoke(checkout: Checkout) -> Checkout:
    shutil.copy2(Path(__file__).with_name("smoke.yaml"), checkout.path / "smoke.yaml")
    return checkout


@pytest.mark.slow
def test_smoke_grid_with_the_real_algorithms(smoke: Checkout) -> None:
    smoke.snakemake(*SMOKE)
    found = sorted((smoke.path / "results" / "runs").rglob("metrics.json"))
    assert len(found) == 13
    for file in found:
        record = json.loads(file.read_text())
        assert record["scale"] == "smoke"
        assert record["status"] in ("ok", "dead")
        assert record["provenance"]["packages"]["torch"]
    assert set(smoke.results()) >= {"oes.csv", "expanders.csv", "isomorphic.csv", "ising.csv"}
    assert not list((smoke.path / "results").rglob("*.tmp*"))
    assert list(Verifier(smoke.path / "results").findings()) == []
    assert "Nothing to be done" in smoke.snakemake(*SMOKE).stderr


@pytest.mark.slow
def test_killed_pipeline_goes_on_by_itself(smoke: Checkout) -> None:
    """SIGKILL of the whole process group at random moments, then the same command again: the undisturbed tables."""
    stub = (*SMOKE, "--config", "mode=stub")
    smoke.snakemake(*stub)
    expected = smoke.results()
    shutil.rmtree(smoke.path / "results")
    shutil.rmtree(smoke.path / ".snakemake")
    moments = random.Random(20261120)
    for _ in range(KILLS):
        process = subprocess.Popen(
            smoke.command(*stub),
            cwd=smoke.path,
            env=environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(moments.uniform(2.0, 9.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    smoke.snakemake(*stub)
    assert smoke.results() == expected
    assert not [found for found in Verifier(smoke.path / "results").findings() if found.problem]


@pytest.mark.slow
def test_second_pipeline_beside_a_live_one_says_so(smoke: Checkout) -> None:
    stub = (*SMOKE, "--config", "mode=stub")
    first = subprocess.Popen(smoke.command(*stub), cwd=smoke.path, env=environment(), stderr=subprocess.DEVNULL)
    locks = smoke.path / ".snakemake" / "locks"
    while first.poll() is None and not (locks.exists() and any(locks.iterdir())):
        time.sleep(0.05)
    second = smoke.snakemake(*stub, check=False)
    assert second.returncode != 0
    assert f"A pipeline is already running in {smoke.path} (process {first.pid}" in second.stderr
    assert first.wait() == 0
