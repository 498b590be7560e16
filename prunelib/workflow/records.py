"""The record of every job: settings, code, packages, machine, times, memory, and by checksum what it read and made.

It lies beside the outputs, as ``<kind>.provenance.json`` for a job of a run and as ``<first output>.provenance.json``
for any other, and names files by their path below results/. ``digest`` says what was made of what: the identity of the
job, its outputs and the digests of the records of the jobs that made its inputs, so that a chain of jobs can be
followed and a change anywhere in it is seen. Times and machines are not in it. ``seal`` is the checksum of the record.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prunelib.config import Settings
from prunelib.errors import ArtefactError
from prunelib.storage.files import read_json, sha256, write_json
from prunelib.storage.identity import digest
from prunelib.storage.provenance import peak_memory_mb, provenance
from prunelib.workflow.paths import Place

FORMAT, SUFFIX = "prunelib-record-1", ".provenance.json"
EXECUTION = ("device", "processes", "checkpoint_seconds")  # keys of a configuration
MAPS = ("inputs", "parents", "outputs", "packages")
OTHERS = {"code", "commit", "dirty", "stub"}
TEXTS = ("job", "step", "identity", "digest", "prunelib", "python", "started", "ended")


def record_of(outputs: Iterable[Path]) -> Path:
    """Where the record of a job that belongs to no run lies."""
    first = next(iter(outputs))
    return first.with_name(first.name + SUFFIX)


class Begun:
    """A job at its start: what it reads by checksum, the records of the jobs that made that, and the clocks."""

    def __init__(self, at: Place, files: Iterable[Path]) -> None:
        """Read every file once."""
        self.since, self.start = datetime.now(UTC), (time.perf_counter(), _cpu_seconds())
        self.at = at
        self.digests = {path: sha256(path) for path in files}
        self.parents = parents(at, self.digests)

    def record(self, facts: Mapping[str, Any], params: Mapping[str, Any], made: Mapping[Path, Path]) -> dict[str, Any]:
        """Return the whole record of the job, which ends now.

        ``facts``: what the job is, and how it was executed; ``made``: where each output lies now, by its place.
        """
        wall, cpu = time.perf_counter() - self.start[0], _cpu_seconds() - self.start[1]
        settings = {name: value for name, value in params.items() if name not in ("code", "mode")}
        ended = datetime.now(UTC)
        return sealed(
            {"format": FORMAT, **facts, "settings": _plain(settings), "code": params.get("code")}
            | {name: value for name, value in provenance({}).items() if name != "inputs"}
            | {"started": _text(self.since), "ended": _text(ended), "wall_s": wall, "cpu_s": cpu, **_memory()}
            | {"inputs": {self.at.name(path): found for path, found in self.digests.items()}}
            | {"parents": self.parents, "outputs": {self.at.name(path): sha256(now) for path, now in made.items()}}
        )


def parents(at: Place, files: Iterable[Path]) -> dict[str, str]:
    """Return the digests of the records that name these files as outputs, by the records' paths."""
    wanted: dict[Path, set[str]] = defaultdict(set)
    for path in files:
        wanted[path.parent].add(at.name(path))
    found = {}
    for directory, names in sorted(wanted.items()):
        for path in sorted(directory.glob(f"*{SUFFIX}")):
            record = whole(path, exactly=False)
            if record and names & record["outputs"].keys():
                found[at.name(path)] = record["digest"]
    return found


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its digest and its seal."""
    body = {name: value for name, value in record.items() if name not in ("digest", "seal")}
    body["digest"] = digest([body["identity"], body["parents"], body["outputs"]])
    return body | {"seal": digest(body)}


def read(path: Path, exactly: bool = True) -> dict[str, Any]:
    """Return a record; raises ArtefactError when it is missing, foreign, or not byte for byte as it was written.

    ``exactly``: white space counts too. To look at that takes half of the time, and a table has thousands to read.
    """
    found = read_json(path)
    try:
        known = found["format"] == FORMAT and all(isinstance(found[name], str) for name in TEXTS)
        known = known and all(_texts(found[name]) for name in MAPS) and found.keys() > OTHERS
        whole = known and sealed(found) == found
        whole = whole and not (exactly and path.read_text(encoding="utf-8") != _written(found))
    except (KeyError, TypeError, ValueError, RecursionError):
        whole = False
    if not whole:
        raise ArtefactError(f"{path}: was changed since it was written, or is no record of a job.")
    return found


def whole(path: Path, exactly: bool = True) -> dict[str, Any] | None:
    """Return a record, or None where there is none as it was written."""
    try:
        return read(path, exactly)
    except ArtefactError:
        return None


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record."""
    write_json(path, record)


def supersede(path: Path, record: Mapping[str, Any]) -> None:
    """Remove the other records beside a record that name any of its outputs: jobs whose files it has replaced."""
    for other in path.parent.glob(f"*{SUFFIX}"):
        found = whole(other) if other != path else None
        if found and found["outputs"].keys() & record["outputs"].keys():
            other.unlink()


def execution(config: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Return how a job was executed: what of a configuration changes no result, or only its last digits."""
    chosen = {name: config.get(name, Settings.model_fields[name].default) for name in EXECUTION}
    return {"threads": threads, **chosen, "deterministic": deterministic(config)}


def deterministic(config: Mapping[str, Any]) -> bool:
    """Whether a configuration, as Snakemake read it, wants no kernels but those that always give the same bits."""
    return config.get("deterministic") in (True, "true")


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(found, str) for found in value.values())


def _written(record: Mapping[str, Any]) -> str:
    """Return what ``write_json`` writes."""
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back; what JSON has no word for becomes text."""
    return json.loads(json.dumps(value, default=str), parse_constant=str)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _cpu_seconds() -> float:
    """CPU time of this process and of those that it has started and waited for."""
    return sum(os.times()[:4])


def _memory() -> dict[str, float | None]:
    """Return the peaks so far in MiB: of this process or the largest one it has waited for, and of the GPU if used."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_initialized()
    return {
        "peak_rss_mb": max(peak_memory_mb(), started),
        "peak_gpu_mb": torch.cuda.max_memory_allocated() / 2**20 if used else None,
    }
