"""Checkpoints: a killed run goes on where it was; torn and foreign files are never used, but the one before is."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from prunelib.storage.files import atomic_path, may_write

FORMAT = b"prunelib-checkpoint-1\n"
log = logging.getLogger(__name__)


class Checkpointer:
    """Keeps the newest two states of one run in a directory of its own.

    A file is FORMAT, the sha256 of what follows, and a torch archive that holds tensors, numbers, strings, lists and
    dicts only (it is read with weights_only=True). The time a run has cost is added up over its attempts.
    """

    def __init__(self, directory: str | Path, seconds: float, identity: str) -> None:
        """Save into ``directory`` each ``seconds``; ``identity`` is the digest of the run's settings and inputs."""
        self.directory = Path(directory)
        self.current, self.previous = self.directory / "state.ckpt", self.directory / "state-previous.ckpt"
        self.seconds, self.identity = seconds, identity
        self._earlier = (0.0, 0.0)
        self._start = (time.perf_counter(), time.process_time())
        self._saved = time.perf_counter()

    def due(self) -> bool:
        """Whether the last save (or the start) was ``seconds`` ago."""
        return time.perf_counter() - self._saved >= self.seconds

    def spent(self) -> tuple[float, float]:
        """Wall and CPU seconds of this attempt and of the saved part of those before it."""
        wall, cpu = time.perf_counter() - self._start[0], time.process_time() - self._start[1]
        return self._earlier[0] + wall, self._earlier[1] + cpu

    def save(self, state: dict[str, Any]) -> None:
        """Write ``state`` atomically; the file it replaces stays as the previous one."""
        buffer = io.BytesIO()
        torch.save({"identity": self.identity, "spent": self.spent(), "state": state}, buffer)
        payload = buffer.getbuffer()
        with atomic_path(self.current) as temporary:
            with open(temporary, "wb") as stream:
                stream.write(FORMAT + hashlib.sha256(payload).digest())
                stream.write(payload)
            may_write()
            if self.current.exists():
                os.replace(self.current, self.previous)
        self._saved = time.perf_counter()

    def load(self) -> dict[str, Any] | None:
        """Return the newest whole state of this run, or None; a torn or foreign file is left out and logged."""
        for path in (self.current, self.previous):
            content = _read(path)
            if content is None:
                continue
            if content["identity"] != self.identity:
                log.warning("%s: belongs to a run with other settings or inputs; not used.", path)
                continue
            self._earlier = content["spent"]
            return content["state"]
        return None

    def clear(self) -> None:
        """Remove what was saved, and the directory when nothing else is in it: the run has ended well."""
        may_write()
        for file in (self.current, self.previous, *self.directory.glob(f".{self.current.name}.*")):
            file.unlink(missing_ok=True)
        with suppress(OSError):
            self.directory.rmdir()


def _read(path: Path) -> dict[str, Any] | None:
    """Read one file; None when it is missing or its bytes are not those that were written."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    head = len(FORMAT) + 32
    if data[: len(FORMAT)] != FORMAT or hashlib.sha256(data[head:]).digest() != data[len(FORMAT) : head]:
        log.warning("%s: torn or damaged; not used.", path)
        return None
    try:
        found = torch.load(io.BytesIO(data[head:]), weights_only=True, map_location="cpu")
        return {"identity": str(found["identity"]), "spent": _times(*found["spent"]), "state": dict(found["state"])}
    except Exception as error:  # a broken archive raises whatever its bytes amount to
        log.warning("%s: can't be read (%s); not used.", path, error)
        return None


def _times(wall: float, cpu: float) -> tuple[float, float]:
    return float(wall), float(cpu)
