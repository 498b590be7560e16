"""Finished work: what a job has made for a run is kept by hard link until its settings, code or inputs change.

Snakemake removes all outputs of a job before it starts it again: of one that was killed, of a batch in which one run
failed or changed, of one whose orphan has just ended well. The files of each run are therefore made in
``results/finished/<run>/<kind>/``, sealed by ``receipt.json`` with what they were made from and their checksums, and
linked to their places from there. A job that finds a fitting receipt links again and computes nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from prunelib.runs import Run
from prunelib.storage.files import atomic_path, may_write, read_json, sha256, write_json

PLACE = Path("results/finished")
AGAIN = "PRUNELIB_AGAIN"  # set in the environment of jobs that Snakemake is forced to run


class Finished:
    """The finished files of one kind of job of one run."""

    def __init__(self, directory: Path, identity: str) -> None:
        """``identity``: digest of the settings, the code and the input files."""
        self.directory, self.identity = directory, identity
        self.receipt = directory / "receipt.json"

    def adopt(self, outputs: Mapping[str, Path]) -> bool:
        """Link whole files of this very identity to their places; False when there are none, or work is forced."""
        if AGAIN in os.environ or not self._whole(outputs):
            return False
        self._link(outputs)
        for path in outputs.values():
            os.utime(path)  # newer than inputs which were made again, with the same bytes
        return True

    def begin(self, outputs: Mapping[str, Path]) -> dict[str, Path]:
        """Forget what is there; return where to make the files, by name."""
        may_write()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        return {name: self.directory / path.name for name, path in outputs.items()}

    def finish(self, outputs: Mapping[str, Path]) -> None:
        """Seal the files and link them to their places."""
        digests = {path.name: sha256(self.directory / path.name) for path in outputs.values()}
        write_json(self.receipt, {"identity": self.identity, "files": digests})
        self._link(outputs)

    def _whole(self, outputs: Mapping[str, Path]) -> bool:
        if not self.receipt.exists():
            return False
        found = read_json(self.receipt)
        if found["identity"] != self.identity or found["files"].keys() != {path.name for path in outputs.values()}:
            return False
        files = {name: self.directory / name for name in found["files"]}
        return all(path.exists() and sha256(path) == found["files"][name] for name, path in files.items())

    def _link(self, outputs: Mapping[str, Path]) -> None:
        for path in outputs.values():
            with atomic_path(path) as temporary:
                temporary.unlink()
                try:
                    os.link(self.directory / path.name, temporary)
                except OSError:  # a file system without hard links, or two
                    shutil.copyfile(self.directory / path.name, temporary)


class Plan(Protocol):
    """What ``begin`` asks a plan."""

    def missing(self) -> list[str]:
        """Files that are not there though the stamp of their batch is."""
        ...

    def forget(self, files: list[str]) -> None:
        """Remove the stamps of batches which these files are missing from."""
        ...


def begin(plan: Plan, place: Path = PLACE, runs: Path = Path("results/runs")) -> None:
    """Before jobs are planned: a run whose directory was deleted is to be made again."""
    plan.forget(plan.missing())
    for directory in place.glob("*/" * 5 + "seed*"):
        if not (runs / directory.relative_to(place)).exists():
            shutil.rmtree(directory)


def kept(name: str, identity: str) -> Finished:
    """Return the finished work of a run's job, named <run>/<kind>; raises ConfigError for a name that is no run's."""
    run, _, kind = name.rpartition("/")
    return Finished(PLACE / Run.parse(run).path / kind, identity)
