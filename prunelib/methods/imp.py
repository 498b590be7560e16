"""Iterative magnitude pruning: train, drop the smallest weights, go back to the initial ones, train again."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any, Literal

import torch

from prunelib.errors import ArtefactError, MethodError
from prunelib.masks.mask import Mask, from_scores
from prunelib.methods.common import selected
from prunelib.options import Count
from prunelib.registry import register
from prunelib.storage.weights import load_weights
from prunelib.tasks.base import Task


@register("method", "imp", stage="mask", parent="previous", start="init", budgets=("density",))
def imp(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    parent: Path,
    rounds: Count = 3,
    prune: Literal["weights", "all"] = "weights",
) -> Mask:
    """Keep the int(density * N) entries of largest magnitude among those the previous round trained.

    ``parent`` holds the trained weights of the previous round, in which pruned entries are zero; training then starts
    from the initial weights. The grid turns ``rounds`` into the chain of runs full, density^(1 / rounds) ... density.
    Source: Frankle and Carbin, The Lottery Ticket Hypothesis (ICLR 2019), with one global threshold as OES runs it.
    Raises ArtefactError when the file is not this network's, MethodError when fewer entries are left than asked for.
    """
    trained, chosen = load_weights(parent), selected(task.build(), prune)
    for name, parameter in chosen.items():
        if name not in trained or trained[name].shape != parameter.shape:
            raise ArtefactError(
                f"{parent}: not the weights of this run's network ('{name}' is missing or differs in shape)."
            )
    sizes = {name: trained[name].abs() for name in chosen}
    left, wanted = sum(int(size.count_nonzero()) for size in sizes.values()), Mask.ones(sizes).size * budget["value"]
    if int(wanted) > left:
        raise MethodError(f"{parent}: {left} weights are left; a density of {budget['value']} asks for {int(wanted)}.")
    return from_scores(sizes, budget["value"], generator)


def survivors(active: int, fraction: float, prunings: int) -> list[int]:
    """Return how many entries are left before and after each of ``prunings`` cuts of ceil(fraction * active) entries.

    This is the published schedule of OES's comparison: from 3 006 771 entries, 13 cuts of a fifth leave 165 297.
    """
    left = [active]
    for _ in range(prunings):
        left.append(left[-1] - ceil(fraction * left[-1]))
    return left
