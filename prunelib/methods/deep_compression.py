"""Deep Compression (Han et al. 2016), the baseline of the ising papers: stage 1, pruning by trained magnitude."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from prunelib.errors import ArtefactError
from prunelib.masks.mask import Mask, from_scores
from prunelib.registry import register
from prunelib.storage.weights import load_weights
from prunelib.tasks.base import Task, prunable


@register("method", "trained_magnitude", stage="mask", parent="dense", start="parent", budgets=("density",))
def trained_magnitude(task: Task, budget: Mapping[str, Any], generator: torch.Generator, *, parent: Path) -> Mask:
    """Keep exactly int(density · N) prunable weights, those of largest trained magnitude over all layers together.

    ``parent`` holds the dense run's trained weights, from which training goes on. Equal magnitudes are ranked at
    random. Source: Deep Compression, stage 1, with one global threshold so that the kept number is the one asked for.
    Raises ArtefactError when the file is not this network's.
    """
    weights, wanted = load_weights(parent), prunable(task.build())
    for name, parameter in wanted.items():
        if name not in weights or weights[name].shape != parameter.shape:
            raise ArtefactError(
                f"{parent}: not the weights of this run's network ('{name}' is missing or does not fit)."
            )
    return from_scores({name: weights[name].abs() for name in wanted}, budget["value"], generator)
