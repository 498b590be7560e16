"""What one job of each step asks of a machine, from the size of its run: threads, memory, time, GPUs.

This is the only place that knows. A job asks for what the record of the same run, or of its other seeds, measured here
(beside the results, also of runs that shared a job); where there is none, for what a run of its length needs at the
slowest rate that was recorded (results/reference). Every further attempt asks for as much again.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from prunelib.config import Settings
from prunelib.recipes import useful_processes
from prunelib.runs import Grid, Run
from prunelib.workflow.batches import KINDS, OF_PAPER
from prunelib.workflow.paths import RUNS
from prunelib.workflow.records import SUFFIX

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
COMPARED = ("task", "model", "method", "recipe")  # settings that say how long a job takes, as far as it has them
Measured = tuple[float, float]  # MB, minutes


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
        self._sizes: dict[tuple[str, ...], Measured] = {}

    @cached_property
    def recipes(self) -> set[str]:
        """Labels of the recipes in the grid."""
        return {self.grid.plan(run).recipe for run in self.grid.runs}

    def of(self, step: str, runs: Callable[[Any], Sequence[Run]] | None = None) -> dict[str, Callable[..., int] | int]:
        """Return what a rule's ``resources:`` holds: mem_mb and runtime (minutes) of an attempt, and gpu.

        runs: tells from wildcards the runs that a job does one after another; without it the job belongs to none.
        """
        members = runs or (lambda wildcards: ())
        gpu, processes = gpus(self.settings, step, self.recipes), _processes(self.settings, step, self.recipes)

        def mem_mb(wildcards: Any, attempt: int) -> int:
            """Memory of the largest of its runs."""
            largest = max((self.of_run(step, run)[0] for run in members(wildcards)), default=RESOURCES[step]["mem_mb"])
            return attempt * (int(largest) + (GPU_MB if gpu else 0)) * processes

        def runtime(wildcards: Any, attempt: int) -> int:
            """Minutes of all of its runs."""
            minutes = sum(self.of_run(step, run)[1] for run in members(wildcards)) or RESOURCES[step]["runtime"]
            return attempt * min(LONGEST, max(SHORTEST, math.ceil(minutes)))

        return {"mem_mb": mem_mb, "runtime": runtime, "gpu": gpu}

    def of_run(self, step: str, run: Run) -> Measured:
        """Return memory in MB and minutes of one process of a step of a run, as measured or by its length.

        Seeds do not differ, and Snakemake asks for memory and time apart, and again: each is looked at once.
        """
        labels = (step, run.paper, run.task, run.model, run.method, run.budget, self.grid.plan(run).recipe)
        if labels not in self._sizes:
            self._sizes[labels] = self._measured(step, run) or self._by_length(step, run)
        return self._sizes[labels]

    def _by_length(self, step: str, run: Run) -> Measured:
        steps, epochs = self._length(step, run)
        minutes = MARGIN * (steps * MINUTES_PER_STEP + epochs * MINUTES_PER_EPOCH)
        return RESOURCES[step]["mem_mb"], minutes or RESOURCES[step]["runtime"]

    def _length(self, step: str, run: Run) -> tuple[int, int]:
        """How many optimizer steps and epochs a step of a run takes, as far as its settings tell."""
        if step == "find_mask":
            return self.settings.named("methods", run.method).options.get("steps", 0), 0
        recipe = self.settings.recipes[self.grid.plan(run).recipe] if step in ("train", "compress") else None
        return getattr(recipe, "steps", 0), getattr(recipe, "epochs", 0)

    def _measured(self, step: str, run: Run) -> Measured | None:
        """MB and minutes, with their margins, of the widest job that did the same for one of the seeds, or None."""
        directory = os.path.dirname(f"{RUNS}/{run.path}")
        try:
            seeds = os.listdir(directory)
        except OSError:
            return None
        wanted = json.loads(json.dumps(self.grid.describe(run), default=str))  # as records say it
        files = [f"{directory}/{seed}/{kind}{SUFFIX}" for seed in seeds for kind in _kinds(step)]
        found = [measured for file in files if (measured := _read(file, wanted))]
        if not found:
            return None
        megabytes, seconds = map(max, zip(*found, strict=True))
        memory = 500 * math.ceil(MEMORY_MARGIN * megabytes / 500)
        return max(RESOURCES[step]["mem_mb"], memory), MARGIN * seconds / 60


def _kinds(step: str) -> set[str]:
    """The kinds of jobs that do a step, as their records are named."""
    return {kind for kinds in OF_PAPER.values() for kind in kinds if KINDS[kind].step == step}


def _read(file: str, wanted: dict[str, Any]) -> Measured | None:
    """MB and seconds of a job by its record; None where there is none, or one of a stand-in or of other settings."""
    try:
        record = json.loads(Path(file).read_text(encoding="utf-8"))
        settings = record["settings"]["settings"]
        same = all(settings.get(key, wanted[key]) == wanted[key] for key in COMPARED)
        return (float(record["peak_rss_mb"]), float(record["wall_s"])) if same and not record["stub"] else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
