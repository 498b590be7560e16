"""The two scores that look at no data: a random one and the initial magnitude."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from prunelib.masks.mask import Mask, from_scores
from prunelib.methods.common import selected
from prunelib.registry import register
from prunelib.tasks.base import Task


@register("method", "random", stage="mask", parent="none", budgets=("density",))
def random(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    scope: Literal["global", "local"] = "global",
    prune: Literal["weights", "all"] = "weights",
) -> Mask:
    """Keep int(density * N) entries at random, of the whole network ("global") or of each tensor ("local")."""
    chosen = selected(task.build(), prune)
    scores = {name: torch.rand(parameter.shape, generator=generator) for name, parameter in chosen.items()}
    return from_scores(scores, budget["value"], generator, scope)


@register("method", "magnitude", stage="mask", parent="none", budgets=("density",))
def magnitude(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    scope: Literal["global", "local"] = "global",
    prune: Literal["weights", "all"] = "weights",
) -> Mask:
    """Keep the int(density * N) entries of largest initial |w|.

    Default initialisers make the weights of large layers small, so the global ranking may empty these layers.
    """
    chosen = selected(task.build(), prune)
    return from_scores({name: parameter.abs() for name, parameter in chosen.items()}, budget["value"], generator, scope)
