"""What one job of each step asks of a machine, from the size of its run: threads, memory, time, GPUs.

This is the only place that knows. A job asks for what the benchmark of the same run, or of its other seeds, measured
here (results/benchmarks); where there is none, for what a run of its length needs at the slowest rate that was recorded
(results/reference). Every further attempt asks for as much again.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from prunelib.config import Settings
from prunelib.recipes import useful_processes
from prunelib.runs import Grid, Run
from prunelib.workflow.batches import KINDS

# Memory in MB, run time in minutes of a job whose length nothing tells, whether a GPU helps.
RESOURCES = {
    "prepare_data": {"mem_mb": 2000, "runtime": 60, "gpu": False},
    "first_weights": {"mem_mb": 4000, "runtime": 60, "gpu": False},
    "find_mask": {"mem_mb": 2000, "runtime": 30, "gpu": True},
    "train": {"mem_mb": 2000, "runtime": 30, "gpu": True},
    "gather_statistics": {"mem_mb": 4000, "runtime": 240, "gpu": True},
    "compress": {"mem_mb": 4000, "runtime": 30, "gpu": True},
    "prune_structure": {"mem_mb": 3000, "runtime": 60, "gpu": True},
    "denoise": {"mem_mb": 4000, "runtime": 720, "gpu": True},
    "slim": {"mem_mb": 2000, "runtime": 30, "gpu": False},
    "diagnose": {"mem_mb": 2000, "runtime": 30, "gpu": False},
    "measure": {"mem_mb": 4000, "runtime": 60, "gpu": True},
    "report": {"mem_mb": 2000, "runtime": 30, "gpu": False},
}
# Beside the GPU's own memory a process that uses one holds its libraries in the machine's.
GPU_MB = 4000
# The slowest rates of results/reference, on one CPU thread: a mask search on 512 x 512 pixels took 1588 s for 1000
# steps, a VGG16 of a quarter of its width 794 s for two epochs of CIFAR-10.
MINUTES_PER_STEP, MINUTES_PER_EPOCH = 0.027, 6.7
MARGIN = 3  # on measured times: other machines are slower, and a file system can be busy
MEMORY_MARGIN = 1.5
SHORTEST, LONGEST = 30, 1440  # minutes; a day is what most partitions allow, and a training goes on where it was
Measured = tuple[float, float]  # seconds, MB


def threads(settings: Settings, step: str, recipes: Iterable[str]) -> int:
    """Return the threads of one job of a step: the configured number in each process of training, elsewhere one.

    ``recipes``: labels of those in the grid; the widest decides, a rule has one number for all its jobs.
    """
    return settings.threads * _processes(settings, step, recipes) if RESOURCES[step]["gpu"] else 1


def gpus(settings: Settings, step: str, recipes: Iterable[str]) -> int:
    """Return how many GPUs one job of a step asks for: one for each process, none on a machine without any."""
    device = settings.device
    wanted = RESOURCES[step]["gpu"] and (device == "cuda" or (device == "auto" and Path("/dev/nvidiactl").exists()))
    return int(wanted) * _processes(settings, step, recipes)


def _processes(settings: Settings, step: str, recipes: Iterable[str]) -> int:
    """Return how many processes the training with the most parts in a batch uses; other steps have one."""
    described = [settings.recipes[recipe].model_dump() for recipe in recipes] if step == "train" else []
    return max((useful_processes(recipe, settings.processes) for recipe in described), default=1)


class Resources:
    """The resources of every job of one grid; nothing is read before a job asks."""

    def __init__(self, grid: Grid) -> None:
        """Remember the grid."""
        self.grid, self.settings = grid, grid.settings
        self._sizes: dict[tuple[str, Run], tuple[int, int]] = {}

    @cached_property
    def recipes(self) -> set[str]:
        """Labels of the recipes in the grid."""
        return {self.grid.plan(run).recipe for run in self.grid.runs}

    def of(self, step: str, runs: Callable[[Any], Sequence[Run]] | None = None) -> dict[str, Callable[..., int] | int]:
        """Return what a rule's ``resources:`` holds: mem_mb and runtime (minutes) of an attempt, and gpu.

        runs: tells from wildcards the runs that a job does one after another; without it the job belongs to none.
        """
        members = runs or (lambda wildcards: ())

        def mem_mb(wildcards: Any, attempt: int) -> int:
            return attempt * self._base(step, members(wildcards))[0]

        def runtime(wildcards: Any, attempt: int) -> int:
            return attempt * self._base(step, members(wildcards))[1]

        return {"mem_mb": mem_mb, "runtime": runtime, "gpu": gpus(self.settings, step, self.recipes)}

    def _base(self, step: str, runs: Sequence[Run]) -> tuple[int, int]:
        """Memory of the largest and minutes of all runs of a job, at its first attempt."""
        sizes = [self._size(step, run) for run in runs] or [(RESOURCES[step]["mem_mb"], RESOURCES[step]["runtime"])]
        processes = _processes(self.settings, step, self.recipes)
        beside = GPU_MB if gpus(self.settings, step, self.recipes) else 0
        memory, minutes = max(memory for memory, _ in sizes), sum(minutes for _, minutes in sizes)
        return (memory + beside) * processes, min(LONGEST, minutes)

    def _size(self, step: str, run: Run) -> tuple[int, int]:
        if (step, run) not in self._sizes:  # Snakemake asks for memory and time apart, and again
            self._sizes[step, run] = self.of_run(step, run)
        return self._sizes[step, run]

    def of_run(self, step: str, run: Run) -> tuple[int, int]:
        """Return memory in MB and minutes of one process of a step of a run, as measured or by its length."""
        memory = RESOURCES[step]["mem_mb"]
        if (measured := self._measured(step, run)) is None:
            steps, epochs = self._length(step, run)
            by_length = MARGIN * (steps * MINUTES_PER_STEP + epochs * MINUTES_PER_EPOCH)
            return memory, _clamp(by_length) if by_length else RESOURCES[step]["runtime"]
        seconds, megabytes = measured
        rounded = 500 * math.ceil(MEMORY_MARGIN * megabytes / 500)
        return max(memory, rounded), _clamp(MARGIN * seconds / 60)

    def _length(self, step: str, run: Run) -> tuple[int, int]:
        """How many optimizer steps and epochs a step of a run takes, as far as its settings tell."""
        if step == "find_mask":
            return self.settings.named("methods", run.method).options.get("steps", 0), 0
        recipe = self.settings.recipes[self.grid.plan(run).recipe] if step in ("train", "compress") else None
        return getattr(recipe, "steps", 0), getattr(recipe, "epochs", 0)

    def _measured(self, step: str, run: Run) -> Measured | None:
        """Seconds and MB of the widest job that did the same, or None."""
        if step == "find_mask" and any(self._length(step, run)):
            return None  # no record beside the benchmark says how many steps it took
        found = [
            _numbers(row)
            for name, kind in KINDS.items()
            if kind.step == step
            for file in Path("results/benchmarks", run.path).parent.glob(f"seed*/{name}.tsv")
            if self._comparable(run, file.parent.name)
            for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines(), delimiter="\t")
        ]
        seconds, megabytes = zip(*found, strict=True) if found else ((), ())
        return (max(seconds), max(megabytes)) if found else None

    def _comparable(self, run: Run, seed: str) -> bool:
        """Whether the run that was measured is no stand-in and was trained by the recipe of today."""
        try:
            record = json.loads(Path("results/runs", run.path).parent.joinpath(seed, "metrics.json").read_text())
            recipe = self.settings.recipes[self.grid.plan(run).recipe].model_dump(mode="json")
            return "stub" not in record["provenance"] and record["settings"]["recipe"] == recipe
        except (OSError, ValueError, KeyError, TypeError):
            return False


def _numbers(row: dict[str, str]) -> Measured:
    """Seconds and MB of one line of a benchmark; what it could not measure is 0."""
    seconds, megabytes = (0.0 if row[key] in ("-", "NA", "") else float(row[key]) for key in ("s", "max_rss"))
    return seconds, megabytes


def _clamp(minutes: float) -> int:
    return min(LONGEST, max(SHORTEST, math.ceil(minutes)))
