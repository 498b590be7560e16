"""Run the tests that fork a process for every job, each file in a pytest of its own.

They fork from a process that has only imported torch. Forked from one that has trained with several threads, drawn and
driven a browser before, jobs would hang or crash for reasons that no user meets.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.workflow.conftest import ROOT, environment

SECONDS = 1500  # on a machine that has other things to do


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("name", ["faults.py", "determinism.py"])
def test_all_of_a_file_passes(name: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", f"python_files={name}"]
    done = subprocess.run(
        [*command, f"tests/workflow/{name}"],
        cwd=ROOT, capture_output=True, text=True, env=environment(), timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
