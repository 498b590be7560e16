"""Which runs share a job: short runs of one kind, so that a process, its imports and Snakemake's work are paid once.

A batch holds runs of one paper, kind of job, task, model and level (how many runs they descend from), so that no batch
waits for itself. Batches with the same runs below several tasks and models are one Snakemake rule. A batch leaves a
stamp beside its runs' files; later jobs depend on the stamp, one file instead of many.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prunelib.runs import Run
from prunelib.workflow.paths import path
from prunelib.workflow.steps import Steps

STAMPS = "results/batches"
TRAINED = {"weights": "weights.safetensors", "history": "history.h5", "metrics": "metrics.json"}


@dataclass(frozen=True)
class Kind:
    """A kind of job: the step it runs and what it writes for each run, by name."""

    step: str
    files: dict[str, str]


KINDS = {
    "mask": Kind("find_mask", {"mask": "mask.h5"}),
    "crossover_mask": Kind("find_mask", {"mask": "mask.h5", "spent": "spent.json"}),
    "graph": Kind("find_mask", {"mask": "mask.h5"}),
    "prune": Kind("prune_structure", {"weights": "pruned.safetensors", "record": "pruned.json"}),
    "train": Kind("train", TRAINED),
    "search": Kind("train", {**TRAINED, "mask": "mask.h5"}),
    "compress": Kind("compress", {**TRAINED, "compressed": "compressed.bin"}),
    "slim": Kind("slim", {"weights": "slim.safetensors", "record": "slim.json"}),
    "diagnose": Kind("diagnose", {"table": "diagnostics.csv", "record": "diagnostics.json"}),
}
OF_PAPER = {
    "oes": ("mask", "train", "slim"),
    "expanders": ("graph", "diagnose", "train"),
    "isomorphic": ("prune", "train"),
    "ising": ("mask", "search", "train", "compress", "slim"),
    "crossover": ("mask", "train"),
}


class Deferred:
    """A param that Snakemake neither compares nor keeps: it is made when a script is started, from what it needs then.

    What it holds must follow from the rule's inputs and its other params.
    """

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        """``make`` returns plain types."""
        self.make = make

    def __reduce__(self) -> tuple[type[dict], tuple[dict[str, Any]]]:
        return dict, (self.make(),)

    def __repr__(self) -> str:
        return "..."


class Job:
    """One rule: a kind of job for single runs (wildcard ``run``) or for the same runs below several places (``where``).

    A place is a task and a model, what follows it in a run's path is a tail.
    """

    def __init__(self, plan: Batches, paper: str, kind: str, index: int, members: dict[str, tuple[Run, ...]]) -> None:
        """``members``: the runs of each job by the value of its wildcard; ``index``: 0 for single runs."""
        self.plan, self.paper, self.kind, self.members = plan, paper, KINDS.get(f"{paper}_{kind}", KINDS[kind]), members
        self.batched, self.label = index > 0, kind
        self.name = f"{paper}_{kind}_batch{index}" if index else f"{paper}_{kind}"
        wildcard, files = ("where" if index else "run"), self.kind.files.values()
        self.constraints = {wildcard: _pattern(members)}
        tails = [_tail(run) for run in next(iter(members.values()))] if index else [""]
        below = [f"results/runs/{paper}/{{{wildcard}}}/{tail}".rstrip("/") for tail in tails]
        self.outputs = [f"{directory}/{file}" for directory in below for file in files]
        place = f"{paper}/{{{wildcard}}}/{kind}" + (f"-batch{index}" if index else "")
        self.log, self.benchmark = f"results/logs/{place}.log", f"results/benchmarks/{place}.tsv"
        if index:
            self.outputs.insert(0, self.stamp("{where}"))

    def stamp(self, where: str) -> str:
        """The file that says a batch is whole."""
        return f"{STAMPS}/{self.name}/{where}.json"

    def of(self, wildcards: Any) -> tuple[Run, ...]:
        """The runs of the job that the wildcards name."""
        return self.members[wildcards.where if self.batched else wildcards.run]

    def inputs(self, wildcards: Any) -> list[str]:
        """Files and stamps of earlier jobs that a job needs."""
        runs = self.of(wildcards)
        return self.plan.ready(file for run in runs for file in self.plan.inputs_of(run, self.kind.step).values())

    def digest(self, wildcards: Any) -> str:
        """Sixteen hexadecimal digits of all settings, and the code, that the results of a job depend on."""
        text = "".join(self.plan.digest(run, self.kind.step) for run in self.of(wildcards))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def work(self, wildcards: Any) -> Deferred:
        """What the script is told: for each run its name, files, settings and code; and the stamp of a batch."""
        runs = self.of(wildcards)
        stamp = self.stamp(wildcards.where) if self.batched else None
        return Deferred(lambda: {"step": self.kind.step, "stamp": stamp, "runs": [self._run(run) for run in runs]})

    def _run(self, run: Run) -> dict[str, Any]:
        inputs = self.plan.inputs_of(run, self.kind.step)
        outputs = {name: path(run, file) for name, file in self.kind.files.items()}
        params = self.plan.params_of(run, self.kind.step)
        return {"name": f"{run.path}/{self.label}", "inputs": inputs, "outputs": outputs, "params": params}


class Batches(Steps):
    """The jobs of the runs of one configuration."""

    def jobs(self, paper: str, kind: str) -> list[Job]:
        """The rules of one kind of job of one paper; none where the grid has no such run."""
        return self._jobs[paper, kind]

    def stages(self, run: Run, kind: str) -> bool:
        """Whether a run has a job of this kind."""
        stage = self.stage(run)
        searched = stage == "training" and run.paper == "ising"
        if kind == "slim":
            return self.slims(run)
        alone = {"mask": "mask", "graph": "mask", "diagnose": "mask", "prune": "structure", "compress": "compress"}
        if kind in alone:
            return stage == alone[kind]
        return searched if kind == "search" else stage != "compress" and not searched

    def ready(self, files: Iterable[str]) -> list[str]:
        """What a job that reads these files depends on: stamps in place of files that batches write; each once."""
        return sorted({self._stamps.get(file, file) for file in files})

    def missing(self) -> list[str]:
        """Files that are not there though the stamp of their batch is."""
        stamps = set(filter(os.path.exists, set(self._stamps.values())))
        return [file for file, stamp in self._stamps.items() if stamp in stamps and not os.path.exists(file)]

    def forget(self, files: Iterable[str]) -> None:
        """Remove the stamps of batches which these files are missing from."""
        for stamp in {self._stamps[file] for file in files}:
            Path(stamp).unlink(missing_ok=True)

    @cached_property
    def _jobs(self) -> dict[tuple[str, str], list[Job]]:
        found: dict[tuple[str, str], list[Job]] = {}
        for paper, kinds in OF_PAPER.items():
            runs = self.grid.of(paper)
            for kind in kinds:
                found[paper, kind] = self._rules(paper, kind, [run for run in runs if self.stages(run, kind)])
        return found

    @cached_property
    def _stamps(self) -> dict[str, str]:
        """The stamp of the batch that writes a file, by file; files of single jobs are not in it."""
        found = {}
        for job in (job for jobs in self._jobs.values() for job in jobs if job.batched):
            for where, runs in job.members.items():
                stamp, files = job.stamp(where), job.kind.files.values()
                found |= {path(run, file): stamp for run in runs for file in files}
        return found

    def _rules(self, paper: str, kind: str, runs: list[Run]) -> list[Job]:
        """Chunk the runs of each place and level; chunks with the same tails are one rule, chunks of one are single."""
        groups: dict[tuple[str, int], list[Run]] = defaultdict(list)
        for run in runs:
            groups[f"{run.task}/{run.model}", self._level(run)].append(run)
        size = self.settings.batched(kind)
        same: dict[tuple[str, ...], dict[str, tuple[Run, ...]]] = defaultdict(dict)
        single: dict[str, tuple[Run, ...]] = {}
        for (where, _), members in groups.items():
            for start in range(0, len(members), size):
                chunk = tuple(members[start : start + size])
                if len(chunk) == 1:
                    single[f"{where}/{_tail(chunk[0])}"] = chunk
                else:
                    same[tuple(map(_tail, chunk))][where] = chunk
        rules = [Job(self, paper, kind, 0, single)] if single else []
        return rules + [Job(self, paper, kind, index, chunks) for index, chunks in enumerate(same.values(), 1)]

    def _level(self, run: Run) -> int:
        """How many runs a run descends from, one after another; a teacher counts as a parent does."""
        if run not in self._levels:
            before = [of for of in (self.grid.parent(run), self.grid.teacher(run)) if of is not None]
            self._levels[run] = 1 + max(map(self._level, before), default=-1)
        return self._levels[run]

    @cached_property
    def _levels(self) -> dict[Run, int]:
        return {}


def _tail(run: Run) -> str:
    return f"{run.method}/{run.budget}/seed{run.seed}"


def _pattern(paths: Iterable[str]) -> str:
    """Return a regular expression of exactly these paths, as short as it gets: Snakemake compiles one per output."""
    below: dict[str, set[str]] = defaultdict(set)
    for whole in paths:
        first, _, rest = whole.partition("/")
        below[first].add(rest)
    same: dict[frozenset[str], set[str]] = defaultdict(set)
    for first, rests in below.items():
        same[frozenset(rests)].add(first)
    found = [_words(firsts) + (f"/{_pattern(rests)}" if any(rests) else "") for rests, firsts in same.items()]
    return _either(sorted(found))


def _words(words: set[str]) -> str:
    """Return a regular expression of exactly these words, what they begin with written once."""
    below: dict[str, set[str]] = defaultdict(set)
    for word in words - {""}:
        below[word[0]].add(word[1:])
    same: dict[str, str] = defaultdict(str)
    for first, rests in sorted(below.items()):
        same[_words(rests)] += re.escape(first)
    found = [(f"[{firsts}]" if len(firsts.replace("\\", "")) > 1 else firsts) + rest for rest, firsts in same.items()]
    return f"(?:{'|'.join(found)})?" if found and "" in words else _either(found)


def _either(patterns: list[str]) -> str:
    return patterns[0] if len(patterns) == 1 else f"(?:{'|'.join(patterns)})" if patterns else ""
