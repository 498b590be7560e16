"""Finished work: what a job has made for a run is kept by hard link until its settings, code or inputs change.

Snakemake removes all outputs of a job before it starts it again: of one that was killed, of a batch in which one run
failed or changed, of one whose orphan has just ended well. The files of each run are therefore made in
``results/finished/<run>/<kind>/``, with the job's record (``prunelib.workflow.records``) of what they were made from
and their checksums, and linked to their places from there, the record too. A job that finds a fitting record links
again and computes nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from prunelib.runs import Run
from prunelib.storage.files import atomic_path, may_write, sha256
from prunelib.workflow.records import SUFFIX, sealed, supersede, whole, write

PLACE = Path("results/finished")
AGAIN = "PRUNELIB_AGAIN"  # set in the environment of jobs that Snakemake is forced to run


class Finished:
    """The finished files of one kind of job of one run."""

    def __init__(self, directory: Path, identity: str) -> None:
        """``identity``: digest of the settings, the code and the input files."""
        self.directory, self.identity = directory, identity
        self.record = directory / f"{directory.name}{SUFFIX}"

    def adopt(self, outputs: Mapping[str, Path], parents: Mapping[str, str]) -> bool:
        """Link whole files of this very identity to their places; False when there are none, or work is forced.

        ``parents``: the records, by digest, of the jobs that made the inputs. They may have been made again, with the
        same bytes.
        """
        if AGAIN in os.environ or (found := self._whole(outputs)) is None:
            return False
        if found["parents"] != parents:
            write(self.record, sealed(found | {"parents": dict(parents)}))
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

    def finish(self, outputs: Mapping[str, Path], record: Mapping[str, Any]) -> None:
        """Write the record and link all files to their places."""
        write(self.record, record)
        self._link(outputs)
        supersede(next(iter(outputs.values())).with_name(self.record.name), record)

    def _whole(self, outputs: Mapping[str, Path]) -> dict[str, Any] | None:
        """Return the record of these outputs if it has the identity and every file is as it says."""
        found = whole(self.record)
        if found is None or found["identity"] != self.identity:
            return None
        digests = {Path(name).name: made for name, made in found["outputs"].items()}
        if digests.keys() != {path.name for path in outputs.values()}:
            return None
        files = {name: self.directory / name for name in digests}
        return found if all(path.exists() and sha256(path) == digests[name] for name, path in files.items()) else None

    def _link(self, outputs: Mapping[str, Path]) -> None:
        """Link outputs, and the record beside them: the outputs of one run lie in one directory."""
        directory = next(iter(outputs.values())).parent
        for path in (directory / self.record.name, *outputs.values()):
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
