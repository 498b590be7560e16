"""Stage 1 of Deep Compression: drop the small weights of a trained network, then train on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prunelib.errors import ArtefactError, MethodError
from prunelib.masks.mask import Mask, from_scores
from prunelib.methods.common import Found, check_options
from prunelib.options import Positive
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
    scores = {name: weight.abs() for name, weight in _trained(task, parent).items()}
    return from_scores(scores, budget["value"], generator)


@register(
    "method",
    "trained_sensitivity",
    stage="mask",
    parent="dense",
    start="parent",
    budgets=("density", "full"),
    full_mask={},
)
def trained_sensitivity(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    parent: Path,
    sensitivity: Positive | None = None,
) -> Found:
    """Keep the weights with |w| >= s · sd(layer): every layer has a threshold of its own, from one sensitivity s.

    With the budget "full", s is ``sensitivity`` and decides alone how much is kept; with a density, s is what keeps
    exactly int(density · N) weights, and the figure ``sensitivity`` says which it is. sd: of all weights of a layer,
    around their mean. Source: Deep Compression, stage 1, as its best known reimplementation thresholds. Raises
    MethodError for a layer whose weights are all equal, ArtefactError when the file is not this network's.
    """
    check_options("trained_sensitivity", budget=budget["kind"], sensitivity=sensitivity)
    scores = {name: _deviations(name, weight) for name, weight in _trained(task, parent).items()}
    if sensitivity is not None:
        return Found(Mask({name: score >= sensitivity for name, score in scores.items()}))
    mask = from_scores(scores, budget["value"], generator)
    least = min((float(score[mask[name]].min()) for name, score in scores.items() if mask[name].any()), default=0.0)
    return Found(mask, figures={"sensitivity": least})


def _deviations(name: str, weight: Tensor) -> Tensor:
    """Return |w| in standard deviations of the layer."""
    deviation = weight.double().std(correction=0)
    if not deviation > 0:
        raise MethodError(f"trained_sensitivity: the weights of '{name}' are all equal, so they have no deviation.")
    return weight.double().abs() / deviation


def _trained(task: Task, parent: Path) -> dict[str, Tensor]:
    """Return the trained prunable weights by name."""
    weights, wanted = load_weights(parent), prunable(task.build())
    for name, parameter in wanted.items():
        if name not in weights or weights[name].shape != parameter.shape:
            raise ArtefactError(
                f"{parent}: not the weights of this run's network ('{name}' is missing or does not fit)."
            )
    return {name: weights[name] for name in wanted}
