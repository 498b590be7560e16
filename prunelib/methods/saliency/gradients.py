"""The two scores from the loss at initialisation: SNIP (first order) and GraSP (second order)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from prunelib.methods.common import Found, check_options
from prunelib.methods.saliency import upstream
from prunelib.methods.saliency.quota import quota
from prunelib.methods.saliency.rounds import in_rounds
from prunelib.methods.saliency.slopes import gradient, hessian_product
from prunelib.options import Count
from prunelib.registry import register
from prunelib.tasks.base import Task


@register("method", "snip", stage="mask", parent="none", budgets=("density", "degree"))
def snip(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    batches: Count = 1,
    rounds: Count = 1,
    scope: Literal["global", "local"] = "global",
    prune: Literal["weights", "all"] | None = None,
    fidelity: Literal["corrected", "upstream"] = "corrected",
    repair: Literal["none", "layer", "weights"] = "none",
    dense_first: bool = False,
) -> Found:
    """Keep the int(density * N) entries of largest |g * w|, g the gradient of the mean loss over ``batches``.

    ``rounds``: round k of them keeps density^(k / rounds) and scores what is left again, pruned weights at zero (more
    than one is Iterative SNIP). A degree and ``dense_first``: as in random. fidelity: "upstream" ranks as OES's authors
    did (``upstream.snip``: |g|, keeps 1 - density of everything). repair: what is done to a dead mask
    (``prunelib.masks.repair``). Raises MethodError for options that contradict each other.
    Source: Lee et al., SNIP (ICLR 2019): the effect on the loss of switching a connection off, to first order; rounds:
    de Jorge et al., Progressive skeletonization (ICLR 2021), Iterative SNIP.
    """
    given = {"fidelity": fidelity, "prune": prune, "repair": repair, "dense_first": dense_first, "rounds": rounds}
    check_options("snip", budget=budget["kind"], **given)
    model = task.build().train()
    if fidelity == "upstream":
        return Found(upstream.snip(task, model, upstream.sparse(budget), scope, batches))
    chosen, left = quota(task, model, budget, prune, dense_first)

    def score() -> dict[str, Tensor]:
        slopes = gradient(task, model, chosen, batches)
        return {name: (slope * chosen[name].detach()).abs() for name, slope in zip(chosen, slopes, strict=True)}

    return left.keep(task, in_rounds(score, chosen, left, rounds, scope), generator, scope, repair)


@register("method", "grasp", stage="mask", parent="none", budgets=("density", "degree"))
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
    dense_first: bool = False,
) -> Found:
    """Keep the int(density * N) entries of lowest S = -w * (H g): the removal of the others costs least gradient flow.

    Removing w_i changes the flow |g|^2 by 2 S_i to first order, so a high S_i means that the flow grows (or shrinks
    least) without w_i, and that entry goes first. g and H: gradient and Hessian of the mean loss over ``batches``. A
    degree and ``dense_first``: as in random.
    fidelity: "upstream" ranks as OES's authors did (``upstream.grasp``: g + H w). repair: what is done to a dead mask
    (``prunelib.masks.repair``). Raises MethodError for options that contradict each other.
    Source: Wang et al., GraSP (ICLR 2020), algorithm 1, whose sign this is: it keeps the scores below the threshold.
    """
    given = {"fidelity": fidelity, "prune": prune, "repair": repair, "dense_first": dense_first}
    check_options("grasp", budget=budget["kind"], **given)
    model = task.build().train()
    if fidelity == "upstream":
        return Found(upstream.grasp(task, model, upstream.sparse(budget), scope, batches))
    chosen, left = quota(task, model, budget, prune, dense_first)
    direction = gradient(task, model, chosen, batches)
    curved = hessian_product(task, model, chosen, direction, batches)
    kept_first = {name: product * chosen[name].detach() for name, product in zip(chosen, curved, strict=True)}  # -S
    return left.keep(task, kept_first, generator, scope, repair)
