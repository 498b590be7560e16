"""The plan of one configuration: for every job its inputs, outputs, parameters and resources.

The Snakefile asks only this object. Parameters hold exactly what a step depends
on (so that an unrelated edit reruns nothing) and are plain types. Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from prunelib.config import PARTS
from prunelib.report.figures import captions
from prunelib.runs import Run
from prunelib.workflow import resources
from prunelib.workflow.batches import Batches, Deferred
from prunelib.workflow.digest import SCRIPTS, code_digest
from prunelib.workflow.paths import RUNS, data_path, path

WORD = "[A-Za-z0-9][A-Za-z0-9._-]*"


class Plan(Batches):
    """Everything the rules need to know of one configuration."""

    def constraints(self) -> dict[str, str]:
        """Regular expressions for every wildcard: the labels in the grid and nothing else."""
        runs = self.grid.runs
        tasks = {run.task for run in runs}
        labels = {"task": tasks, "model": {run.model for run in runs}}
        labels["data"] = {self.settings.named("tasks", task).options["data"] for task in tasks}
        found = {name: "|".join(sorted(map(re.escape, values))) or "none" for name, values in labels.items()}
        published = {"builder": "timm|torchvision", "architecture": WORD}
        return found | published | {"seed": "[0-9]+", "batches": "[0-9]+", "paper": "|".join(PARTS)}

    def first_weights_params(self) -> dict[str, Callable[[Any], Any]]:
        """Return the params of the rule that fetches published weights: which ones, its code, the mode."""
        code = code_digest(SCRIPTS / "first_weights.py")
        return {
            "spec": lambda wildcards: {"builder": wildcards.builder, "name": wildcards.architecture},
            "code": lambda wildcards: code,
            "mode": lambda wildcards: self.settings.mode,
        }

    def statistics(self, wildcards: Any) -> dict[str, str]:
        """Return the input files of the job that gathers a dense network's gradient statistics."""
        run = self._dense(wildcards)
        return self.inputs_of(run, "gather_statistics") | {"parent": path(run, "weights.safetensors")}

    def statistics_params(self) -> dict[str, Callable[[Any], Any]]:
        """Return the params of the rule that gathers statistics: the dense run's settings and how many batches."""

        def all_of(wildcards: Any) -> dict[str, Any]:
            found = self.params_of(self._dense(wildcards), "gather_statistics")
            kept = {name: found["settings"][name] for name in ("run", "task", "model", "seed")}
            return found | {"settings": kept | {"batches": int(wildcards.batches)}}

        return {name: lambda wildcards, name=name: all_of(wildcards)[name] for name in ("settings", "code", "mode")}

    def _dense(self, wildcards: Any) -> Run:
        return Run("isomorphic", wildcards.task, wildcards.model, "dense", "full", int(wildcards.seed))

    def data(self) -> list[str]:
        """Every data set the grid uses."""
        return sorted({data_path(self.grid.data(run)) for run in self.grid.runs})

    def first_weights(self) -> list[str]:
        """Every file of first weights that the grid's models begin with."""
        files = (self._model_files(run.model) | self._teacher_files(run) for run in self.grid.runs)
        names = ("first_weights", "teacher_first_weights")
        return sorted({found[name] for found in files for name in names if name in found})

    def source(self, label: str) -> dict[str, Any]:
        """What prepares a data set: its source, options and the digest of the code."""
        named = self.settings.named("data", label)
        code = code_digest(SCRIPTS / "prepare_data.py", [("data", named.name)])
        spec = {"label": label, "source": named.name, "options": named.options}
        return {"spec": spec, "code": code, "mode": self.settings.mode}

    def source_params(self) -> dict[str, Callable[[Any], Any]]:
        """Return the params of the rule that prepares data."""
        return {
            name: lambda wildcards, name=name: self.source(wildcards.data)[name] for name in ("spec", "code", "mode")
        }

    def source_files(self, label: str) -> list[str]:
        """Local files a data set is made from, so that editing one prepares it again."""
        values = self.settings.named("data", label).options.values()
        return [value for value in values if isinstance(value, str) and "/" in value and Path(value).is_file()]

    def code(self, step: str) -> str:
        """Digest of the code of a step that belongs to no single run (tables, figures, page)."""
        return code_digest(SCRIPTS / f"{step}.py")

    def finished(self, paper: str) -> list[str]:
        """The files that say all runs of one paper are done.

        Metrics; slim networks where channels may be dead; diagnostics of the expanders' masks, whatever method's; how
        long the crossover's masks took to find.
        """
        if paper not in self._finished:
            self._finished[paper] = [file for run in self.grid.of(paper) for file in self._left_by(run)]
        return self._finished[paper]

    def _left_by(self, run: Run) -> Iterator[str]:
        yield path(run, "metrics.json")
        if self.slims(run):
            yield path(run, "slim.json")
        if run.paper in ("expanders", "crossover") and self.stage(run) == "mask":
            yield path(run, "diagnostics.json" if run.paper == "expanders" else "spent.json")

    @cached_property
    def _finished(self) -> dict[str, list[str]]:
        return {}

    def files(self, name: str, paper: str | None = None) -> list[str]:
        """One file of every run, or of every run of one part of the grid."""
        return [path(run, name) for run in (self.grid.of(paper) if paper else self.grid.runs)]

    def records(self, name: str, paper: str | None = None) -> list[str]:
        """The files of one name (slim.json, diagnostics.json) among what the runs, or one part's, leave."""
        finished = self.finished(paper) if paper else self.everything()
        return [file for file in finished if file.endswith(f"/{name}")]

    def lists(self, files: Callable[[], dict[str, list[str]]]) -> Deferred:
        """Return the param that gives a script lists of runs' files by name; its inputs say when they are there."""
        return Deferred(files)

    def everything(self) -> list[str]:
        """The files that say all runs of the whole grid are done."""
        return [file for paper in self.settings.grid for file in self.finished(paper)]

    def wanted(self, paper: str | None = None) -> list[str]:
        """What says that all runs, or one paper's, are done and that no batch has lost a file.

        Naming every run makes Snakemake notice one that was deleted, though what was built from it is still there.
        """
        below = f"{RUNS}/{paper}/" if paper else RUNS
        lost = [file for file in self.missing() if file.startswith(below)]
        return self.ready(self.finished(paper) if paper else self.everything()) + lost

    def parts(self) -> list[str]:
        """The parts of the grid that have runs."""
        return [part for part in self.settings.grid if self.grid.of(part)]

    def maps(self) -> list[str]:
        """The masks that are drawn kernel by kernel: those of the expanders' part of its first seed."""
        runs = [run for run in self.grid.of("expanders") if self.stage(run) == "mask"]
        first = min((run.seed for run in runs), default=0)
        return [path(run, "mask.h5") for run in runs if run.seed == first]

    def figures(self) -> dict[str, dict[str, str]]:
        """Names of the report's figures, and what Snakemake's own report calls them."""
        return {caption.name: {"part": caption.part, "figure": caption.title} for caption in captions.CAPTIONS}

    def threads(self, step: str) -> int:
        """Threads of one job of a step: training steps use the configured number in each process, the rest one."""
        return resources.threads(self.settings, step, self._resources.recipes)

    def resources(self, step: str, runs: Callable[[Any], Sequence[Run]] | None = None) -> dict[str, Any]:
        """Return what a rule's ``resources:`` holds: mem_mb and runtime (minutes) of an attempt of a job, and gpu.

        runs: tells from wildcards the runs that a job does; without it they name one, or none.
        """
        return self._resources.of(step, runs)

    @cached_property
    def _resources(self) -> resources.Resources:
        return resources.Resources(self.grid)
