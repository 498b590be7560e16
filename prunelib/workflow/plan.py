"""The plan of one configuration: for every step of every run its inputs, outputs, parameters and resources.

The Snakefile asks only this object; paths are made here and nowhere else. Parameters hold exactly what a step depends
on (so that an unrelated edit reruns nothing) and are plain types. Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prunelib import config
from prunelib.config import PARTS
from prunelib.report import captions
from prunelib.runs import Grid, Run
from prunelib.workflow import resources
from prunelib.workflow.digest import code_digest, used_by

RUNS = "results/runs"
WORD = "[A-Za-z0-9][A-Za-z0-9._-]*"
SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"


class Plan:
    """Everything the rules need to know of one configuration."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        """Check the configuration and expand its grid; raises ConfigError."""
        self.settings = config.load(raw)
        self.grid = Grid(self.settings)
        self._resources = resources.Resources(self.grid)
        self._params: dict[tuple[Run, str], dict[str, Any]] = {}  # Snakemake asks for each one apart

    def constraints(self) -> dict[str, str]:
        """Regular expressions for every wildcard: the labels in the grid and nothing else."""
        runs = self.grid.runs
        labels = {name: {getattr(run, name) for run in runs} for name in ("task", "model", "method", "budget")}
        found = {name: "|".join(sorted(map(re.escape, values))) or "none" for name, values in labels.items()}
        data = "|".join(sorted({re.escape(self.grid.data(run)) for run in runs})) or "none"
        published = {"builder": "timm|torchvision", "architecture": WORD}
        return found | published | {"seed": "[0-9]+", "batches": "[0-9]+", "data": data, "paper": "|".join(PARTS)}

    def methods(self, *stages: str) -> str:
        """Regular expression of the method labels whose masks are found at one of these stages."""
        labels = {run.method for run in self.grid.runs if self.grid.facts(run).get("stage", "none") in stages}
        return "|".join(sorted(map(re.escape, labels))) or "none"

    def run(self, paper: str, wildcards: Any) -> Run:
        """The run that a rule's wildcards name."""
        return Run(paper, wildcards.task, wildcards.model, wildcards.method, wildcards.budget, int(wildcards.seed))

    def stage(self, run: Run) -> str:
        """What finds this run's mask or gates; most runs that keep everything have nothing to find."""
        if run.budget == "full" and not self.grid.masked_from_start(run):
            return "none"
        return self.grid.facts(run).get("stage", "none")

    def inputs(self, paper: str, step: str) -> Callable[[Any], dict[str, str]]:
        """Return the input function of one step: the data set, and files of this run or of its parent."""
        return lambda wildcards: self.inputs_of(self.run(paper, wildcards), step)

    def inputs_of(self, run: Run, step: str) -> dict[str, str]:
        """Return the input files of one step of one run, by name."""
        stage, facts, parent = self.stage(run), self.grid.facts(run), self.grid.parent(run)
        files = {"data": data_path(self.grid.data(run))}
        if step in ("find_mask", "prune_structure") and parent:
            files["parent"] = path(parent, "mask.h5" if facts.get("parent") == "source" else "weights.safetensors")
        if step == "find_mask" and (location := self._location(run)):
            files["given"] = location
        if step == "prune_structure" and (batches := self._batches(run)):
            files["statistics"] = statistics_path(run, batches)
        if step == "train" and stage == "mask":
            files["mask"] = path(run, "mask.h5")
            if parent and facts.get("start") == "parent":
                files["start"] = path(parent, "weights.safetensors")
        if step == "train" and stage == "structure":
            files |= {"structure": path(run, "pruned.safetensors"), "record": path(run, "pruned.json")}
        if step == "train":
            files |= self._teacher_files(run)
        if step == "compress" and parent:
            kept = {"mask": path(parent, "mask.h5")} if self.stage(parent) != "none" else {}
            files |= {"start": path(parent, "weights.safetensors")} | kept
        if step == "slim":
            files |= {"weights": path(run, "weights.safetensors"), "metrics": path(run, "metrics.json")}
            files |= {"mask": path(run, "mask.h5")}
        if step == "diagnose":
            files["mask"] = path(run, "mask.h5")
        return files | self._model_files(run.model)

    def _teacher_files(self, run: Run) -> dict[str, str]:
        """The files that the teacher of a run's recipe is built from, among them the weights of its run."""
        distill = getattr(self.settings.recipes[self.grid.plan(run).recipe], "distill", None)
        files = self._model_files(distill.teacher) if distill else {}
        files = {f"teacher_{name}": file for name, file in files.items()}
        trained = self.grid.teacher(run)
        return files | ({"teacher": path(trained, "weights.safetensors")} if trained else {})

    def _model_files(self, label: str) -> dict[str, str]:
        """The files a model is built from: first weights, or a saved network and its record."""
        options = self.settings.named("models", label).options
        files = {}
        if weights := options.get("weights"):
            files["first_weights"] = weights
        if saved := options.get("location"):
            files |= {"saved": saved, "saved_record": str(Path(saved).with_suffix(".json"))}
        return files

    def first_weights_params(self) -> dict[str, Callable[[Any], Any]]:
        """Return the params of the rule that fetches published weights: which ones, its code, the mode."""
        code = code_digest(SCRIPTS / "first_weights.py")
        return {
            "spec": lambda wildcards: {"builder": wildcards.builder, "name": wildcards.architecture},
            "code": lambda wildcards: code,
            "mode": lambda wildcards: self.settings.mode,
        }

    def _batches(self, run: Run) -> int | None:
        """Over how many batches a run's method wants gradient statistics, or None; its facts say for which criteria."""
        options = self.settings.named("methods", run.method).options
        return options["batches"] if options.get("criterion") in self.grid.facts(run).get("statistics", ()) else None

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

    def _location(self, run: Run) -> str | None:
        """The file of the user's that a run's method reads, so that another one finds its mask again."""
        return self.settings.named("methods", run.method).options.get("location")

    def params(self, paper: str, step: str) -> dict[str, Callable[[Any], Any]]:
        """Return the params of one step's rule: the settings its run depends on, the digest of its code, the mode."""
        return {
            name: lambda wildcards, name=name: self.params_of(self.run(paper, wildcards), step)[name]
            for name in ("settings", "code", "mode")
        }

    def params_of(self, run: Run, step: str) -> dict[str, Any]:
        """Return the settings one step of one run depends on, as plain types."""
        if (run, step) not in self._params:
            self._params[run, step] = self._params_of(run, step)
        return self._params[run, step]

    def _params_of(self, run: Run, step: str) -> dict[str, Any]:
        settings = self.grid.describe(run)
        if step == "train" and self.stage(run) != "training":
            settings = {key: value for key, value in settings.items() if key not in ("method", "budget")}
        if step not in ("train", "compress"):
            settings = {key: value for key, value in settings.items() if key not in ("recipe", "scale")}
        code = code_digest(SCRIPTS / f"{step}.py", used_by(settings, step))
        return {"settings": settings, "code": code, "mode": self.settings.mode}

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
        files = []
        for run in self.grid.of(paper):
            files.append(path(run, "metrics.json"))
            if self._slims(run):
                files.append(path(run, "slim.json"))
            if paper == "expanders" and self.stage(run) == "mask":
                files.append(path(run, "diagnostics.json"))
            if paper == "crossover" and self.stage(run) == "mask":
                files.append(path(run, "spent.json"))
        return files

    def _slims(self, run: Run) -> bool:
        """Whether a run's network is slimmed: gates shut whole channels, and so do masks that cover norms and biases.

        The rounds of a chain are left out, they only lead to its last one.
        """
        stage, method = self.stage(run), self.settings.named("methods", run.method)
        if run.paper == "ising":
            return stage not in ("none", "compress")
        options = method.options
        covers_all = options.get("prune") == "all" or options.get("fidelity") == "upstream" or method.name == "given"
        chained = self.grid.facts(run).get("parent") == "previous"
        return run.paper == "oes" and stage == "mask" and covers_all and not chained

    def files(self, name: str, paper: str | None = None) -> list[str]:
        """One file of every run, or of every run of one part of the grid."""
        return [path(run, name) for run in (self.grid.of(paper) if paper else self.grid.runs)]

    def records(self, name: str, paper: str | None = None) -> list[str]:
        """The files of one name (slim.json, diagnostics.json) among what the runs, or one part's, leave."""
        finished = self.finished(paper) if paper else self.everything()
        return [file for file in finished if Path(file).name == name]

    def everything(self) -> list[str]:
        """The files that say all runs of the whole grid are done."""
        return [file for paper in self.settings.grid for file in self.finished(paper)]

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

    def resources(self, step: str) -> dict[str, Any]:
        """Return what a rule's ``resources:`` holds: mem_mb and runtime (minutes) of an attempt of a job, and gpu."""
        return self._resources.of(step)


def path(run: Run, file: str) -> str:
    """Path of one artefact of a run."""
    return f"{RUNS}/{run.path}/{file}"


def statistics_path(run: Run, batches: int) -> str:
    """Path of the gradient statistics, over so many batches, of the dense network that a run starts from."""
    return f"results/statistics/{run.paper}/{run.task}/{run.model}/seed{run.seed}/batches{batches}.safetensors"


def data_path(label: str) -> str:
    """Path of a prepared data set."""
    return f"results/data/{label}.h5"
