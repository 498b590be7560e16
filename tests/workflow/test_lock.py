"""The pipeline's lock: stale ones are removed, a live one is never broken, a second pipeline says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prunelib.errors import BusyError
from prunelib.workflow import lock

ROOT = Path(__file__).parents[2]
HOLD = "import sys, time; from pathlib import Path; from prunelib.workflow.lock import guard\n"
HOLD += "print(guard(Path(sys.argv[1])), flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def release() -> None:
    lock._held.clear()


def hold(directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, directory], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def snakemake_lock(directory: Path) -> Path:
    path = directory / ".snakemake" / "locks" / "0.input.lock"
    path.parent.mkdir(parents=True)
    path.write_text("results/data/x.h5\n")
    return path


def test_live_lock_is_respected_and_explained(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    owner = hold(tmp_path)
    left = snakemake_lock(tmp_path)
    with pytest.raises(BusyError, match=f"process {owner.pid} on"):
        lock.guard(tmp_path)
    assert not lock.guard(tmp_path, keep=False)  # a dry run may look on
    assert left.exists()
    assert f"process {owner.pid} on" in capfd.readouterr().err
    owner.kill()
    owner.wait()


def test_lock_of_a_killed_pipeline_is_removed(tmp_path: Path) -> None:
    owner = hold(tmp_path)
    left = snakemake_lock(tmp_path)
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert lock.guard(tmp_path)
    assert not left.exists()


def test_dry_run_does_not_keep_the_lock(tmp_path: Path) -> None:
    assert lock.guard(tmp_path, keep=False)
    second = hold(tmp_path)
    second.kill()
    second.wait()
