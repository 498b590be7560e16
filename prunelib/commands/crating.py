"""A result tree as an RO-Crate: files with checksums, one action per job, the workflow, in words that other tools know.

The crate follows Process Run Crate 0.5 and, where the workflow's Snakefile lies beside the tree, Workflow Run Crate 0.5
(https://www.researchobject.org/workflow-run-crate/): each record becomes a CreateAction whose instrument is the step's
script at its version, whose objects are the inputs and whose results are the outputs.
"""

from __future__ import annotations

import mimetypes
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from rocrate.model.contextentity import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

import prunelib
from prunelib.errors import ArtefactError, ConfigError
from prunelib.storage.files import atomic_path, sha256
from prunelib.storage.identity import digest
from prunelib.workflow.records import SUFFIX, read
from prunelib.workflow.verify import BESIDE, Verifier

VERSION = "1.1"  # of RO-Crate, which the profiles of runs are written for
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
MEDIA = {".h5": "application/x-hdf5", ".md": "text/markdown", ".tsv": "text/tab-separated-values", ".smk": "text/plain"}
RAW, APPLICATION = "application/octet-stream", "SoftwareApplication"
CITATION = Path(prunelib.__file__).parents[1] / "CITATION.cff"
COMPLETED = "http://schema.org/CompletedActionStatus"


def export(tree: Path, target: Path, step: Callable[[int], None] = lambda size: None) -> tuple[int, int]:
    """Write a result tree as a crate to ``target``, a .zip file or a new directory; return counts of files and actions.

    ``step`` hears the size of every file that was hashed. Raises ArtefactError for a tree that is not as its records
    say, ConfigError for a target that is there or lies in the tree.
    """
    tree, target = Path(tree), Path(target)
    if target.exists():
        raise ConfigError(f"{target}: already there. Choose another name, or remove it.")
    if target.absolute().is_relative_to(tree.absolute()):
        raise ConfigError(f"{target}: lies in the tree that is to be exported. Choose a place outside of it.")
    described = Described(tree, step)
    if target.suffix == ".zip":
        with atomic_path(target) as temporary:
            described.crate.write_zip(temporary)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            described.crate.write(Path(scratch, "crate"))
            os.chmod(Path(scratch, "crate"), 0o755)
            shutil.move(Path(scratch, "crate"), target)
    return len(described.files), len(described.actions)


class Described:
    """The crate of one tree, in memory: names and checksums, not the files."""

    def __init__(self, tree: Path, step: Callable[[int], None]) -> None:
        """Check the tree and describe it."""
        self.tree, self.crate = tree, ROCrate(version=VERSION)
        self.crate.metadata.extra_contexts.append(TERMS)
        self.digests: dict[str, str] = {}
        self.records = {path: read(path) for path in self._checked(step)}
        for record in self.records.values():
            self.digests |= record["outputs"]
        self.files = {name: self._file(path, name) for name, path in self._members()}
        self.others: dict[str, Entity] = {}  # packages, scripts and inputs that are not in the crate
        self.actions = [self._action(path, record) for path, record in self.records.items()]
        self._root()

    def _checked(self, step: Callable[[int], None]) -> list[Path]:
        """Return the records of the tree; raises ArtefactError when there is none, or something is not as they say."""
        for found in Verifier(self.tree, step).findings():
            if found.problem:
                command = f"python -m prunelib verify {self.tree}"
                raise ArtefactError(f"{found.path}: {found.text} ({found.kind}). Not exported; '{command}' lists all.")
        paths = sorted(path for path in _below(self.tree) if path.name.endswith(SUFFIX))
        if not paths:
            raise ArtefactError(f"{self.tree}: holds no record of a job (*.provenance.json); nothing to export.")
        return paths

    def _members(self) -> Iterator[tuple[str, Path]]:
        """Yield the path within the crate and the place of every file; paths are those that records name."""
        for path in _below(self.tree):
            yield f"results/{path.relative_to(self.tree).as_posix()}", path
        beside = self.tree.absolute().parent
        if (beside / "Snakefile").is_file():
            parts = map(beside.glob, ("rules/*.smk", "rules/captions/*.rst", "workflow_scripts/*.py"))
            for path in (beside / "Snakefile", *sorted(chain(*parts))):
                yield path.relative_to(beside).as_posix(), path

    def _file(self, path: Path, name: str) -> Entity:
        kind = MEDIA.get(path.suffix) or mimetypes.guess_type(path.name)[0] or RAW
        about = {"name": name, "contentSize": str(path.stat().st_size), "encodingFormat": kind}
        about["sha256"] = self.digests.get(name) or sha256(path)
        if name != "Snakefile":
            return self.crate.add_file(path, name, properties=about)
        about["description"] = "The workflow that made the results, as it lies beside them now."
        version = next(record["packages"].get("snakemake") for record in self.records.values())
        return self.crate.add_workflow(path, name, properties=about, main=True, lang="snakemake", lang_version=version)

    def _action(self, path: Path, record: Mapping[str, Any]) -> Entity:
        """Describe one job."""
        used = [self.files.get(name) or self._input(name, found) for name, found in record["inputs"].items()]
        note = " Stand-ins of mode stub, no results." if record["stub"] else ""
        about = {
            "name": record["job"],
            "description": f"Step {record['step']}, identity {record['identity']}.{note}",
            "startTime": record["started"],
            "endTime": record["ended"],
            "actionStatus": COMPLETED,
            "subjectOf": self.files[f"results/{path.relative_to(self.tree).as_posix()}"],
        }
        made = [self.files[name] for name in record["outputs"] if name in self.files]
        return self.crate.add_action(self._script(record), f"#{record['job']}", _one(used), _one(made), about)

    def _script(self, record: Mapping[str, Any]) -> Entity:
        """Describe the script of a step at its version, with the packages it used."""
        commit = record["commit"] and record["commit"] + "-dirty" * bool(record["dirty"])
        version = f"{record['prunelib']}, {'commit ' + commit if commit else 'commit unknown'}, code {record['code']}"
        needs = {"python": record["python"], **record["packages"]}
        packages = [self._other(f"#{name}-{has}", name, APPLICATION, version=has) for name, has in needs.items()]
        identifier = f"#{record['step']}-{digest([version, needs])[:16]}"
        about = {"softwareVersion": version, "softwareRequirements": packages}
        return self._other(identifier, f"prunelib {record['step']}", APPLICATION, **about)

    def _input(self, name: str, checksum: str) -> Entity:
        """Describe an input that is not in the crate: a user's file, or data of the code."""
        return self._other(f"#input-{checksum}", name, "CreativeWork", sha256=checksum)

    def _other(self, identifier: str, name: str, kind: str, **about: Any) -> Entity:
        if identifier not in self.others:
            entity = ContextEntity(self.crate, identifier, {"@type": kind, "name": name, **about})
            self.others[identifier] = self.crate.add(entity)
        return self.others[identifier]

    def _root(self) -> None:
        """Describe the whole: name, licence, profiles and, where the workflow is there, its run."""
        stub = any(record["stub"] for record in self.records.values())
        note = " Made with mode stub: random stand-ins, no results." if stub else ""
        root, workflow = self.crate.root_dataset, self.files.get("Snakefile")
        root["name"] = "Results of prunelib"
        root["description"] = f"{len(self.files)} files made by {len(self.actions)} recorded jobs of prunelib.{note}"
        root["datePublished"] = datetime.now(UTC).isoformat(timespec="seconds")
        root["license"] = self._licence
        profiles = [item for item in PROFILES.items() if workflow is not None or "process" in item[0]]
        root["conformsTo"] = _one([self._profile(*item) for item in profiles])
        root["mentions"] = self.actions
        if workflow is not None:
            workflow["hasPart"] = [entity for name, entity in self.files.items() if name.endswith((".smk", ".py"))]
            workflow["license"], workflow["author"] = self._licence, _one(self._authors())
            workflow["version"] = prunelib.__version__
            root["mentions"] = [self._whole_run(workflow), *self.actions]

    def _whole_run(self, workflow: Entity) -> Entity:
        moments = [record[name] for record in self.records.values() for name in ("started", "ended")]
        about = {"name": "All recorded jobs", "description": "From the first job's start to the last one's end."}
        about |= {"startTime": min(moments), "endTime": max(moments), "actionStatus": COMPLETED}
        made = [self.files[name] for name in self.digests if name in self.files]
        given = [entity for name, entity in self.others.items() if name.startswith("#input-")]
        return self.crate.add_action(workflow, "#workflow-run", _one(given), _one(made), about)

    def _profile(self, identifier: str, name: str) -> Entity:
        return self._other(identifier, name, "CreativeWork", version=identifier.rpartition("/")[2])

    @cached_property
    def _citation(self) -> dict[str, Any]:
        return yaml.safe_load(CITATION.read_text(encoding="utf-8"))

    @cached_property
    def _licence(self) -> Entity:
        """The licence of the project, which is that of what it makes."""
        name = self._citation["license"]
        return self._other(f"https://spdx.org/licenses/{name}", f"{name} licence", "CreativeWork")

    def _authors(self) -> list[Entity]:
        """Those who wrote the workflow; who ran it is not recorded."""
        names = [author["name"] for author in self._citation["authors"]]
        return [self._other(f"#author-{number}", name, "Organization") for number, name in enumerate(names)]


def _one(entities: list[Entity]) -> Entity | list[Entity]:
    """Return what stands for some entities: a single one is written without a list."""
    return entities[0] if len(entities) == 1 else entities


def _below(tree: Path) -> Iterator[Path]:
    """Yield the files of a tree, without what lies beside its results."""
    for directory, below, files in os.walk(tree):
        if Path(directory) == tree:
            below[:] = [name for name in below if name not in BESIDE]
        below.sort()
        yield from (Path(directory, name) for name in sorted(files))
