"""What each step of each run needs: its stage, its input files, the settings it depends on and the digest of them.

Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunelib import config
from prunelib.runs import Grid, Run
from prunelib.workflow.digest import SCRIPTS, code_digest, used_by
from prunelib.workflow.paths import data_path, path, statistics_path

OWN = ("run", "seed", "budget")  # settings that a run's path says


class Steps:
    """The steps of the runs of one configuration."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        """Check the configuration and expand its grid; raises ConfigError."""
        self.settings = config.load(raw)
        self.grid = Grid(self.settings)
        self._digests: dict[tuple[str, ...], str] = {}

    def stage(self, run: Run) -> str:
        """What finds this run's mask or gates; most runs that keep everything have nothing to find."""
        if run.budget == "full" and not self.grid.masked_from_start(run):
            return "none"
        return self.grid.facts(run).get("stage", "none")

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

    def _batches(self, run: Run) -> int | None:
        """Over how many batches a run's method wants gradient statistics, or None; its facts say for which criteria."""
        options = self.grid.method(run.method).options
        return options["batches"] if options.get("criterion") in self.grid.facts(run).get("statistics", ()) else None

    def _location(self, run: Run) -> str | None:
        """The file of the user's that a run's method reads, so that another one finds its mask again."""
        return self.grid.method(run.method).options.get("location")

    def params_of(self, run: Run, step: str) -> dict[str, Any]:
        """Return the settings one step of one run depends on, as plain types."""
        settings = self.grid.describe(run)
        if step == "train" and self.stage(run) != "training":
            settings = {key: value for key, value in settings.items() if key not in ("method", "budget")}
        if step not in ("train", "compress"):
            settings = {key: value for key, value in settings.items() if key not in ("recipe", "scale")}
        code = code_digest(SCRIPTS / f"{step}.py", used_by(settings, step))
        return {"settings": settings, "code": code, "mode": self.settings.mode}

    def digest(self, run: Run, step: str) -> str:
        """Return the digest of ``params_of``; what runs of the same labels share is looked at once."""
        labels = (step, run.task, run.model, run.method, self.grid.plan(run).recipe, self.stage(run))
        if labels not in self._digests:
            params = self.params_of(run, step)
            shared = {name: value for name, value in params["settings"].items() if name not in OWN}
            text = json.dumps([shared, params["code"], params["mode"]], sort_keys=True)
            self._digests[labels] = hashlib.sha256(text.encode()).hexdigest()
        return f"{run.path} {self._digests[labels]}"

    def slims(self, run: Run) -> bool:
        """Whether a run's network is slimmed: gates shut whole channels, and so do masks that cover norms and biases.

        The rounds of a chain are left out, they only lead to its last one.
        """
        stage, method = self.stage(run), self.grid.method(run.method)
        if run.paper == "ising":
            return stage not in ("none", "compress")
        options = method.options
        covers_all = options.get("prune") == "all" or options.get("fidelity") == "upstream" or method.name == "given"
        chained = self.grid.facts(run).get("parent") == "previous"
        return run.paper == "oes" and stage == "mask" and covers_all and not chained
