"""What one job of each step asks of a machine: threads, memory, time, GPUs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prunelib.config import Settings
from prunelib.recipes import useful_processes

# Memory in MB, run time in minutes, whether a GPU helps.
RESOURCES = {
    "prepare_data": {"mem_mb": 2000, "runtime": 60, "gpu": False},
    "first_weights": {"mem_mb": 4000, "runtime": 60, "gpu": False},
    "find_mask": {"mem_mb": 2000, "runtime": 240, "gpu": True},
    "train": {"mem_mb": 2000, "runtime": 720, "gpu": True},
    "gather_statistics": {"mem_mb": 4000, "runtime": 240, "gpu": True},
    "compress": {"mem_mb": 4000, "runtime": 240, "gpu": True},
    "prune_structure": {"mem_mb": 3000, "runtime": 60, "gpu": True},
    "denoise": {"mem_mb": 4000, "runtime": 720, "gpu": True},
    "slim": {"mem_mb": 2000, "runtime": 30, "gpu": False},
    "diagnose": {"mem_mb": 2000, "runtime": 30, "gpu": False},
    "measure": {"mem_mb": 4000, "runtime": 60, "gpu": True},
    "report": {"mem_mb": 2000, "runtime": 30, "gpu": False},
}


def threads(settings: Settings, step: str, recipes: Iterable[str]) -> int:
    """Return the threads of one job of a step: the configured number in each process of training, elsewhere one."""
    return settings.threads * _processes(settings, step, recipes) if RESOURCES[step]["gpu"] else 1


def resources(settings: Settings, step: str, recipes: Iterable[str]) -> dict[str, int]:
    """Return mem_mb, runtime (minutes) and gpu (one for each process, or none) of one job of a step.

    ``recipes``: labels of those in the grid; Snakemake asks for all jobs of a rule at once, so the widest decides.
    """
    wanted, processes = RESOURCES[step], _processes(settings, step, recipes)
    device = settings.device
    gpu = wanted["gpu"] and (device == "cuda" or (device == "auto" and Path("/dev/nvidiactl").exists()))
    return {"mem_mb": wanted["mem_mb"] * processes, "runtime": wanted["runtime"], "gpu": int(gpu) * processes}


def _processes(settings: Settings, step: str, recipes: Iterable[str]) -> int:
    """Return how many processes the training with the most parts in a batch uses; other steps have one."""
    described = [settings.recipes[recipe].model_dump() for recipe in recipes] if step == "train" else []
    return max((useful_processes(recipe, settings.processes) for recipe in described), default=1)
