"""The two scores that look at no data: a random one and the initial magnitude."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from prunelib.methods.common import Found, check_options, covered, ranked, selected
from prunelib.methods.saliency import upstream
from prunelib.registry import register
from prunelib.tasks.base import Task


@register("method", "random", stage="mask", parent="none", budgets=("density",))
def random(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    scope: Literal["global", "local"] = "global",
    prune: Literal["weights", "all"] | None = None,
    fidelity: Literal["corrected", "upstream"] = "corrected",
    repair: Literal["none", "layer", "weights"] = "none",
) -> Found:
    """Keep int(density * N) entries at random, of the whole network ("global") or of each tensor ("local").

    prune: weights unless said. fidelity: "upstream" as OES's authors did (``upstream.random``). repair: what is done to
    a dead mask (``prunelib.masks.repair``). Raises MethodError for options that contradict each other.
    """
    check_options("random", fidelity=fidelity, prune=prune, repair=repair)
    if fidelity == "upstream":
        return Found(upstream.random(task.build(), upstream.sparse(budget), scope, generator))
    chosen = selected(task.build(), covered(prune))
    scores = {name: torch.rand(parameter.shape, generator=generator) for name, parameter in chosen.items()}
    return ranked(task, scores, budget["value"], generator, scope, repair)


@register("method", "magnitude", stage="mask", parent="none", budgets=("density",))
def magnitude(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    scope: Literal["global", "local"] = "global",
    prune: Literal["weights", "all"] | None = None,
    fidelity: Literal["corrected", "upstream"] = "corrected",
    repair: Literal["none", "layer", "weights"] = "none",
) -> Found:
    """Keep the int(density * N) entries of largest initial |w|.

    Default initialisers make the weights of large layers small, so the global ranking may empty these layers.
    fidelity: "upstream" as OES's authors did (``upstream.magnitude``). repair: what is done to a dead mask
    (``prunelib.masks.repair``). Raises MethodError for options that contradict each other.
    """
    check_options("magnitude", fidelity=fidelity, prune=prune, repair=repair, scope=scope)
    if fidelity == "upstream":
        return Found(upstream.magnitude(task.build(), upstream.sparse(budget), generator))
    chosen = selected(task.build(), covered(prune))
    scores = {name: parameter.abs() for name, parameter in chosen.items()}
    return ranked(task, scores, budget["value"], generator, scope, repair)
