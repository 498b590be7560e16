"""Iterative magnitude pruning: train, drop the smallest weights, go back to the initial ones, train again."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from prunelib.errors import ArtefactError, MethodError
from prunelib.masks.mask import best
from prunelib.masks.repair import Ranking
from prunelib.methods.common import Found, check_options, covered, nonzero, repaired, selected
from prunelib.options import Count, Fraction
from prunelib.registry import register
from prunelib.storage.weights import load_weights
from prunelib.tasks.base import Task


@register(
    "method",
    "imp",
    stage="mask",
    parent="previous",
    start="init",
    budgets=("density",),
    full_mask={"fidelity": "upstream"},
)
def imp(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    parent: Path | None = None,
    rounds: Count = 3,
    cut: Fraction | None = None,
    prune: Literal["weights", "all"] | None = None,
    fidelity: Literal["corrected", "upstream"] = "corrected",
    repair: Literal["none", "layer", "weights"] = "none",
) -> Found:
    """Keep the int(density * N) entries of largest magnitude among those the previous round trained.

    ``parent`` holds the trained weights of the previous round, in which pruned entries are zero; training then starts
    from the initial weights. The grid turns ``rounds`` into the chain of runs full, density^(1 / rounds) ... density,
    or, with ``cut``, full, 1 - cut ... (1 - cut)^rounds; a round then removes ceil(cut * active) of the active entries.
    fidelity: with "upstream" all parameters are pruned and the first round, which has no parent, already has the mask
    of non-zero initial parameters. repair: what is done to a dead mask (``prunelib.masks.repair``).
    Source: Frankle and Carbin, The Lottery Ticket Hypothesis (ICLR 2019), with one global threshold as OES runs it.
    Raises ArtefactError when the file is not this network's, MethodError when fewer entries are left than asked for or
    options contradict each other.
    """
    check_options("imp", cut=cut, prune=prune, fidelity=fidelity, repair=repair)
    model = task.build()
    if parent is None:
        if fidelity != "upstream":
            raise MethodError("method 'imp' prunes the trained weights of an earlier run, and none were given.")
        return Found(nonzero(model))
    chosen = selected(model, "all" if fidelity == "upstream" else covered(prune))
    sizes = _trained(parent, chosen)
    active = {name: size > 0 for name, size in sizes.items()}
    left = sum(int(part.sum()) for part in active.values())
    density = budget["value"]
    wanted = int(density * sum(size.numel() for size in sizes.values())) if cut is None else left - ceil(cut * left)
    if wanted > left:
        raise MethodError(f"{parent}: {left} weights are left; a density of {density} asks for {wanted}.")
    ranking = Ranking(sizes, density, active)
    return repaired(task, best(sizes, wanted, generator), ranking, generator, repair)


def _trained(parent: Path, chosen: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the trained magnitudes of the chosen parameters."""
    trained = load_weights(parent)
    for name, parameter in chosen.items():
        if name not in trained or trained[name].shape != parameter.shape:
            raise ArtefactError(
                f"{parent}: not the weights of this run's network ('{name}' is missing or differs in shape)."
            )
    return {name: trained[name].abs() for name in chosen}
