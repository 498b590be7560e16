"""Put into a copy of the pipeline under test: notes who works on what under a lease, and lets chosen jobs go wrong.

``faults.json`` beside the Snakefile says what happens to which job: it fails, hangs (longer than anyone waits) or waits
(for a file ``released``), each only once; or it exceeds its memory, each time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOTES, FAULTS, RELEASED = Path("witness.log"), Path("faults.json"), Path("released")


@contextmanager
def witnessed(name: str) -> Iterator[None]:
    """Note when a job begins and ends what its lease protects, and go wrong in between."""
    note("begin", name)
    strike(name, json.loads(FAULTS.read_text()).get(name) if FAULTS.exists() else None)
    yield
    note("end", name)


def note(what: str, name: str) -> None:
    """Append one line: what, which job, process, SLURM's job, time."""
    line = f"{what} {name} {os.getpid()} {os.environ.get('SLURM_JOB_ID', '-')} {time.time():.3f}\n"
    with open(NOTES, "a", encoding="utf-8") as stream:
        stream.write(line)


def strike(name: str, fault: str | None) -> None:
    """Let a job go wrong."""
    if fault == "exceed":
        held = b"x" * 2_600_000_000  # more than the first attempt asks for, less than the second
        time.sleep(5)
        del held
        return
    mark = Path(f"struck-{name.replace('/', '-')}")
    if fault is None or mark.exists():
        return
    mark.touch()
    if fault == "fail":
        raise RuntimeError("fails on purpose")
    end = time.monotonic() + 3600
    while time.monotonic() < end and not (fault == "wait" and RELEASED.exists()):
        time.sleep(0.5)
