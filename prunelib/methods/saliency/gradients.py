"""The two scores from the loss at initialisation: SNIP (first order) and GraSP (second order)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from prunelib.methods.common import Found, check_options, covered, ranked, selected
from prunelib.methods.saliency import upstream
from prunelib.methods.saliency.slopes import gradient, hessian_product
from prunelib.options import Count
from prunelib.registry import register
from prunelib.tasks.base import Task


@register("method", "snip", stage="mask", parent="none", budgets=("density",))
def snip(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    batches: Count = 1,
    scope: Literal["global", "local"] = "global",
    prune: Literal["weights", "all"] | None = None,
    fidelity: Literal["corrected", "upstream"] = "corrected",
    repair: Literal["none", "layer", "weights"] = "none",
) -> Found:
    """Keep the int(density * N) entries of largest |g * w|, g the gradient of the mean loss over ``batches``.

    fidelity: "upstream" ranks as OES's authors did (``upstream.snip``: |g|, keeps 1 - density of everything). repair:
    what is done to a dead mask (``prunelib.masks.repair``). Raises MethodError for options that contradict each other.
    Source: Lee et al., SNIP (ICLR 2019): the effect on the loss of switching a connection off, to first order.
    """
    check_options("snip", fidelity=fidelity, prune=prune, repair=repair)
    model = task.build().train()
    if fidelity == "upstream":
        return Found(upstream.snip(task, model, upstream.sparse(budget), scope, batches))
    chosen = selected(model, covered(prune))
    slopes = gradient(task, model, chosen, batches)
    scores = {name: (slope * chosen[name].detach()).abs() for name, slope in zip(chosen, slopes, strict=True)}
    return ranked(task, scores, budget["value"], generator, scope, repair)


@register("method", "grasp", stage="mask", parent="none", budgets=("density",))
def grasp(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    batches: Count = 1,
    scope: Literal["global", "local"] = "global",
    prune: Literal["weights", "all"] | None = None,
    fidelity: Literal["corrected", "upstream"] = "corrected",
    repair: Literal["none", "layer", "weights"] = "none",
) -> Found:
    """Keep the int(density * N) entries of lowest S = -w * (H g): the removal of the others costs least gradient flow.

    Removing w_i changes the flow |g|^2 by 2 S_i to first order, so a high S_i means that the flow grows (or shrinks
    least) without w_i, and that entry goes first. g and H: gradient and Hessian of the mean loss over ``batches``.
    fidelity: "upstream" ranks as OES's authors did (``upstream.grasp``: g + H w). repair: what is done to a dead mask
    (``prunelib.masks.repair``). Raises MethodError for options that contradict each other.
    Source: Wang et al., GraSP (ICLR 2020), algorithm 1, whose sign this is: it keeps the scores below the threshold.
    """
    check_options("grasp", fidelity=fidelity, prune=prune, repair=repair)
    model = task.build().train()
    if fidelity == "upstream":
        return Found(upstream.grasp(task, model, upstream.sparse(budget), scope, batches))
    chosen = selected(model, covered(prune))
    direction = gradient(task, model, chosen, batches)
    curved = hessian_product(task, model, chosen, direction, batches)
    kept_first = {name: product * chosen[name].detach() for name, product in zip(chosen, curved, strict=True)}  # -S
    return ranked(task, kept_first, budget["value"], generator, scope, repair)
