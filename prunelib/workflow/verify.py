"""Check a result tree against its records: every byte, every file, and whether what things were made from is still it.

A record's outputs are hashed where they lie. Its inputs are compared with the records of the jobs that made them, which
say of themselves whether they still hold, so that no file is read twice and no list of files is kept. Records may come
from anybody: a name in one is only ever read, and never outside the tree unless it is an input that was outside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from prunelib.errors import ArtefactError, brief
from prunelib.storage.files import sha256
from prunelib.workflow.records import SUFFIX, read, whole

# What is in a tree beside results: unfinished work, its bookkeeping, what jobs printed, recorded runs of other trees.
BESIDE = ("batches", "benchmarks", "checkpoints", "finished", "logs", "reference", "README.md")
REMEMBERED = 4096  # records of parents that are kept in memory
UNREAL = ("/proc/", "/sys/")  # where Linux has files without an end, which a record may name
Kind = Literal["changed", "missing", "stale", "record", "unrecorded"]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as the records say; ``unrecorded`` files are none of the problems."""

    kind: Kind
    path: Path
    text: str

    @property
    def problem(self) -> bool:
        """Whether it speaks against the tree."""
        return self.kind != "unrecorded"


@dataclass
class Count:
    """How much has been checked."""

    records: int = 0
    files: int = 0
    bytes: int = 0


class Verifier:
    """Checks one tree, a file at a time."""

    def __init__(self, tree: Path, step: Callable[[int], None] = lambda size: None) -> None:
        """``tree``: what the workflow calls results/; ``step`` hears the size of every file that was read."""
        self.tree, self.step, self.count = Path(tree), step, Count()
        self._parent = lru_cache(REMEMBERED)(self._read_parent)
        self._digest = lru_cache(REMEMBERED)(self._hash)
        self._gone: set[Path] = set()  # records that were missed already
        self._elsewhere: set[Path] = set()  # outputs that do not lie beside their record
        self._loose: list[Path] = []  # files that no record beside them names

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong, and at the end the files that no record names."""
        for directory, below, files in os.walk(self.tree):
            place = Path(directory)
            if place == self.tree:
                below[:], files = (sorted(set(names) - set(BESIDE)) for names in (below, files))
            below.sort()
            yield from self._directory(place, sorted(files))
        text = "no record names it"
        yield from (Finding("unrecorded", path, text) for path in self._loose if path not in self._elsewhere)

    def _directory(self, place: Path, files: list[str]) -> Iterator[Finding]:
        known = {place / name for name in files if name.endswith(SUFFIX)}
        for path in sorted(known):
            self.count.records += 1
            try:
                record = read(path)
            except ArtefactError as error:
                yield Finding("record", path, str(error).removeprefix(f"{path}: "))
                continue
            yield from self._outputs(path, record, known)
            yield from self._inputs(path, record)
        self._loose += [place / name for name in files if place / name not in known]

    def _outputs(self, record: Path, content: dict[str, Any], known: set[Path]) -> Iterator[Finding]:
        for name, digest in content["outputs"].items():
            path = self._inside(name)
            if path is None:
                yield Finding("record", record, f"says that {brief(name)} was made, which is not below results/")
                continue
            known.add(path) if path.parent == record.parent else self._elsewhere.add(path)
            if (found := self._hash(path)) is None:
                yield Finding("missing", path, f"{record.name} says that {content['step'][:100]} made it")
            elif found != digest:
                yield Finding("changed", path, f"other bytes than {content['step'][:100]} wrote ({record.name})")

    def _inputs(self, record: Path, content: dict[str, Any]) -> Iterator[Finding]:
        made: dict[str, str] = {}
        for name, digest in content["parents"].items():
            path = self._inside(name)
            if path is None:
                yield Finding("record", record, f"names {brief(name)} as a job before it, which is not below results/")
            elif _size(path) is None:
                if path not in self._gone:
                    yield Finding("missing", path, f"{content['job'][:100]} was made from what it is the record of")
                self._gone.add(path)
            elif parent := self._parent(path):
                made |= parent[1]
                if parent[0] != digest:
                    yield Finding("stale", record, f"{path} has changed since; make it again")
        for name, digest in content["inputs"].items():
            path = self._inside(name) or self._outside(name)
            now = made[name] if name in made else self._digest(path)
            if now not in (None, digest):
                yield Finding("stale", record, f"was made from another {path} than is there; make it again")

    def _inside(self, name: str) -> Path | None:
        """Return where a file of the workflow lies in this tree; None for a name that is not below results/."""
        parts = PurePosixPath(name).parts
        return self.tree.joinpath(*parts[1:]) if parts[:1] == ("results",) and ".." not in parts else None

    def _outside(self, name: str) -> Path:
        """Return where a user's file lay: paths of the workflow begin beside results/."""
        return self.tree.absolute().parent / name

    def _read_parent(self, path: Path) -> tuple[str, dict[str, str]] | None:
        """Return a record's digest and outputs; one that is damaged is reported where it lies."""
        found = whole(path)
        return (found["digest"], found["outputs"]) if found else None

    def _hash(self, path: Path) -> str | None:
        """Return a file's checksum; None when there is none, or none that can be read."""
        size = _size(path)
        if size is None:
            return None
        try:
            found = sha256(path)
        except OSError:
            return None
        self.count.files += 1
        self.count.bytes += size
        self.step(size)
        return found


def _size(path: Path) -> int | None:
    """Return a file's size; None when it is missing, none that can be read to an end, or has a name that can't be."""
    try:
        place = os.path.realpath(path)
        found = os.stat(place)
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) and not place.startswith(UNREAL) else None
