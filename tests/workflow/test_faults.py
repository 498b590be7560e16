"""Run the faults of ``tests/workflow/faults.py`` in a pytest of their own.

They fork a process for every job from one that has only imported torch. Forked from one that has trained, drawn and
driven a browser before, jobs would crash for reasons that no user meets.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.workflow.conftest import ROOT, environment

SECONDS = 1500  # on a machine that has other things to do


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
def test_every_fault_ends_as_the_table_says() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "python_files=faults.py"]
    done = subprocess.run(
        [*command, "tests/workflow/faults.py"],
        cwd=ROOT, capture_output=True, text=True, env=environment(), timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
