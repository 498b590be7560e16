"""The train step of K image fits that differ in data, mask or seed alone, side by side in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunelib.errors import ConfigError
from prunelib.storage.checkpoint import Checkpointer
from prunelib.storage.identity import identity
from prunelib.training.fit_many import fit_many
from prunelib.training.result import Trained
from prunelib.training.run import Opened

SHARED = ("model", "recipe", "scale")


def train_many(
    settings: Sequence[Mapping[str, Any]],
    inputs: Sequence[Mapping[str, Path]],
    outputs: Sequence[Mapping[str, Path]],
    *,
    checkpoints: Path,
    checkpoint_seconds: float,
    device: str,
) -> None:
    """Write what K calls of ``train_run`` would: each run's outputs["weights"], ["history"] and ["metrics"].

    ``inputs``: each run's files, "data" and, where it has them, "mask" and "start". A run whose mask leaves a dead
    network is written as dead; the others go on without it. Timing is each run's share of the whole, its field
    side_by_side says of how many. Raises ConfigError for runs that differ in model, recipe or picture size, that do not
    fit images or that ask for smaller networks (recipe.compact), which have a shape of their own each.
    """
    _check(settings)
    inputs = [{name: Path(path) for name, path in files.items()} for files in inputs]
    every = {f"{index}.{name}": path for index, files in enumerate(inputs) for name, path in files.items()}
    checkpointer = Checkpointer(checkpoints, checkpoint_seconds, identity({"runs": list(settings)}, every))
    runs = [Opened(given, files, device) for given, files in zip(settings, inputs, strict=True)]
    living = [run for run in runs if run.report.alive]
    results = iter(_fit(living, settings[0]["recipe"], checkpointer) if living else [])
    spent = checkpointer.spent()
    for run, files in zip(runs, outputs, strict=True):
        run.write(files, next(results) if run.report.alive else Trained({}, {}), spent, beside=len(runs))
    checkpointer.clear()


def _fit(runs: Sequence[Opened], recipe: Mapping[str, Any], checkpointer: Checkpointer) -> list[Trained]:
    tasks, models = [run.task for run in runs], [run.model for run in runs]
    return fit_many(tasks, models, recipe, masks=[run.mask for run in runs], checkpointer=checkpointer)


def _check(settings: Sequence[Mapping[str, Any]]) -> None:
    """Refuse runs that can't go side by side."""
    if not settings:
        raise ConfigError("train many: got no run. Allowed: one run or more.")
    first = settings[0]
    for index, given in enumerate(settings):
        different = [name for name in SHARED if given[name] != first[name]]
        if different:
            raise ConfigError(f"train many: run {index} differs from run 0 in {', '.join(different)}; it must not.")
    if first["recipe"]["loop"] != "fit_image":
        raise ConfigError(f"train many: recipe.loop is {first['recipe']['loop']}. Allowed side by side: fit_image.")
    if first["recipe"].get("compact"):
        raise ConfigError("train many: recipe.compact is true. Allowed side by side: false.")
