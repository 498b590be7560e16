"""A short fuzzing of every reader; the long one is ``python -m tests.fuzz``."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from prunelib.errors import ArtefactError, PrunelibError
from tests.fuzz import run
from tests.fuzz.run import fuzz
from tests.fuzz.targets import Target, all_targets

INPUTS, SECONDS = 200, 2.5
FEWER = {"pickled network, whole command": 6}  # a process for each


@pytest.mark.parametrize("name", all_targets())
def test_no_reader_does_anything_but_read_or_refuse(name: str) -> None:
    target = all_targets()[name]
    result = fuzz(target, FEWER.get(name, INPUTS), SECONDS)
    assert result.inputs > 0
    assert list(result.findings.values()) == []


def misbehave(path: Path) -> object:
    """Do what the first byte says."""
    content = path.read_bytes()
    if content.startswith(b"refuse"):
        raise ArtefactError("no")
    if content.startswith(b"raise"):
        raise KeyError("x")
    if content.startswith(b"hang"):
        while True:
            pass
    if content.startswith(b"die"):
        os.kill(os.getpid(), 11)
    if content.startswith(b"silent"):
        time.sleep(60)
    if content.startswith(b"eat"):
        return bytes(2**31)
    if content.startswith(b"write"):
        Path(f"/tmp/prunelib-fuzz-{os.getpid()}").touch()
        Path(f"/tmp/prunelib-fuzz-{os.getpid()}").unlink()
    return content


def test_everything_that_is_looked_for_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "SECONDS", 0.2)
    monkeypatch.setattr(run, "PATIENCE", 20.0)
    deeds = [b"refuse", b"raise", b"hang", b"die", b"silent", b"eat", b"write", b"fine"]
    target = Target("bad", misbehave, lambda _: [b"fine"], crafted=lambda _: deeds)
    result = fuzz(target, len(deeds), 60.0, keep=tmp_path)
    found = {finding["index"]: what for what, finding in result.findings.items()}
    assert {index: what.split(" ")[0] for index, what in found.items()} == {
        1: "KeyError",
        2: "Hang",
        3: "process",
        4: "no",
        5: "MemoryError",
        6: "touched",
    }
    assert (result.inputs, result.read) == (8, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"bad-{index}.bin" for index in range(1, 7)]
    assert json.dumps(result.findings)


@pytest.mark.parametrize("path", sorted(Path(__file__).with_name("found").iterdir()), ids=lambda path: path.name)
def test_what_was_found_once_is_refused_for_good(path: Path) -> None:
    target = all_targets()[path.name.split("-")[0]]
    with pytest.raises(PrunelibError):
        target.read(path)
