"""A labelled image set of bright squares, small enough to train on in a second, and settings of a run on it."""

from pathlib import Path
from typing import Any

import numpy as np

from prunelib.data.datasets import assemble, write
from prunelib.recipes import ClassifyRecipe

SIDE = 8
COUNTS = {"train": 60, "val": 18, "test": 30}
MODEL = {"builder": "vgg", "options": {"plan": [8, "M", 8], "hidden": 8, "dropout": 0.5, "conv_bias": True}}
LEARNS_FAST = {"builder": "vgg", "options": {"plan": [8, "M", 8, "M"], "hidden": 0}}


def write_squares(path: Path, channels: int = 1, **counts: int) -> Path:
    """Write the set: class k has a noisy bright square in the k-th of three corners."""
    counts = COUNTS | counts
    total = sum(counts.values())
    random = np.random.default_rng(0)
    labels = np.arange(total, dtype=np.int64) % 3
    images = random.integers(0, 120, (total, SIDE, SIDE, channels), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += np.uint8(100)
    edges = np.cumsum([0, *counts.values()])
    splits = {name: np.arange(edges[i], edges[i + 1], dtype=np.int64) for i, name in enumerate(counts)}
    write(path, assemble("squares", images, labels, splits, ["one", "two", "three"], "made up", {}))
    return path


def recipe(**changes: Any) -> dict[str, Any]:
    """A classification recipe of a few epochs as plain types."""
    fields = {"loop": "classify", "lr": 0.05, "epochs": 4, "batch_size": 16, "schedule": "constant"} | changes
    return ClassifyRecipe(**fields).model_dump()


def settings(**changes: Any) -> dict[str, Any]:
    """The plain settings of a classification run; ``changes`` replace whole sections."""
    return {
        "run": {"paper": "expanders", "task": "squares", "model": "tiny", "method": "m", "budget": "full", "seed": 0},
        "task": {"kind": "classify", "options": {"batch_size": 16, "size": None}},
        "model": MODEL,
        "budget": {"kind": "full", "value": None},
        "recipe": recipe(),
        "seed": 0,
        "scale": "quick",
    } | changes
