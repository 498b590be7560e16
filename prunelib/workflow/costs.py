"""The jobs that measure the networks of one task and model side by side: their inputs, parameters and files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prunelib.runs import Run
from prunelib.workflow.plan import Plan, data_path, path

STEPS = {"isomorphic": "measure", "crossover": "measure_masked"}  # the parts whose networks are measured, and by what


class Costs:
    """What the rules of one configuration that measure networks need to know."""

    def __init__(self, plan: Plan) -> None:
        """Take the runs of a plan."""
        self.plan = plan

    def files(self, paper: str | None = None) -> list[str]:
        """What says how much networks cost: one file per task and model, of one part of the grid or of all."""
        runs = [run for part in STEPS if paper in (None, part) for run in self.plan.grid.of(part)]
        return sorted({f"results/costs/{run.paper}/{run.task}/{run.model}.json" for run in runs})

    def inputs(self, paper: str) -> Callable[[Any], dict[str, Any]]:
        """Return the input function of the job that measures a task's and model's networks, dense and pruned."""
        return lambda wildcards: self.inputs_of(paper, wildcards)

    def inputs_of(self, paper: str, wildcards: Any) -> dict[str, Any]:
        """Return the data set, the weights of all runs, and what is left of those that were pruned."""
        runs, stage = self._group(paper, wildcards), self.plan.stage
        files: dict[str, Any] = {"data": data_path(self.plan.grid.data(runs[0]))}
        files["weights"] = [path(run, "weights.safetensors") for run in runs]
        if paper == "crossover":
            metrics = [path(run, "metrics.json") for run in runs]
            return files | {"masks": [path(run, "mask.h5") for run in runs if stage(run) == "mask"], "metrics": metrics}
        smaller = [run for run in runs if stage(run) == "structure"]
        return files | {
            "structures": [path(run, f"pruned.{kind}") for kind in ("safetensors", "json") for run in smaller]
        }

    def params(self, paper: str) -> dict[str, Callable[[Any], Any]]:
        """Return the params of the rule that measures networks: their task and model, its code, the mode."""

        def all_of(wildcards: Any) -> dict[str, Any]:
            found = self.plan.params_of(self._group(paper, wildcards)[0], STEPS[paper])
            kept = {name: found["settings"][name] for name in ("task", "model", "seed")}
            return found | {"settings": kept}

        return {name: lambda wildcards, name=name: all_of(wildcards)[name] for name in ("settings", "code", "mode")}

    def _group(self, paper: str, wildcards: Any) -> list[Run]:
        """The runs of one task and model, dense ones first."""
        stage, runs = self.plan.stage, self.plan.grid.of(paper)
        mine = [run for run in runs if (run.task, run.model) == (wildcards.task, wildcards.model)]
        return sorted(mine, key=lambda run: (stage(run) in ("structure", "mask"), run))
