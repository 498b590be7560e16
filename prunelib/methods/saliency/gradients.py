"""The two scores from the loss at initialisation: SNIP (first order) and GraSP (second order)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunelib.masks.mask import Mask, from_scores
from prunelib.methods.common import selected
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
    prune: Literal["weights", "all"] = "weights",
) -> Mask:
    """Keep the int(density * N) entries of largest |g * w|, g the gradient of the mean loss over ``batches``.

    Source: Lee et al., SNIP (ICLR 2019): the effect on the loss of switching a connection off, to first order.
    """
    model = task.build().train()
    chosen = selected(model, prune)
    slopes = gradient(task, model, chosen, batches)
    scores = {name: (slope * chosen[name].detach()).abs() for name, slope in zip(chosen, slopes, strict=True)}
    return from_scores(scores, budget["value"], generator, scope)


@register("method", "grasp", stage="mask", parent="none", budgets=("density",))
def grasp(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    batches: Count = 1,
    scope: Literal["global", "local"] = "global",
    prune: Literal["weights", "all"] = "weights",
) -> Mask:
    """Keep the int(density * N) entries of lowest S = -w * (H g): the removal of the others costs least gradient flow.

    Removing w_i changes the flow |g|^2 by 2 S_i to first order, so a high S_i means that the flow grows (or shrinks
    least) without w_i, and that entry goes first. g and H: gradient and Hessian of the mean loss over ``batches``.
    Source: Wang et al., GraSP (ICLR 2020), algorithm 1, whose sign this is: it keeps the scores below the threshold.
    """
    model = task.build().train()
    chosen = selected(model, prune)
    direction = gradient(task, model, chosen, batches)
    curved = hessian_product(task, model, chosen, direction, batches)
    kept_first = {name: product * chosen[name].detach() for name, product in zip(chosen, curved, strict=True)}  # -S
    return from_scores(kept_first, budget["value"], generator, scope)


def gradient(task: Task, model: nn.Module, chosen: Mapping[str, Tensor], batches: int) -> list[Tensor]:
    """Return the gradient of the mean loss over the first ``batches`` scoring batches, in the order of ``chosen``."""
    parts = (
        torch.autograd.grad(loss, list(chosen.values()), materialize_grads=True)
        for loss in _losses(task, model, batches)
    )
    return _mean(parts, batches)


def hessian_product(
    task: Task, model: nn.Module, chosen: Mapping[str, Tensor], direction: list[Tensor], batches: int
) -> list[Tensor]:
    """Return H v of the mean loss over the same batches, v = ``direction``, by differentiating g . v."""
    return _mean((_along(loss, list(chosen.values()), direction) for loss in _losses(task, model, batches)), batches)


def _along(loss: Tensor, parameters: list[Tensor], direction: list[Tensor]) -> tuple[Tensor, ...]:
    slopes = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    product = torch.stack([(slope * vector).sum() for slope, vector in zip(slopes, direction, strict=True)]).sum()
    return torch.autograd.grad(product, parameters, materialize_grads=True)


def _losses(task: Task, model: nn.Module, batches: int) -> Iterator[Tensor]:
    for inputs, target in task.batches("search", batches):
        yield task.loss(model(inputs), target)


def _mean(parts: Iterator[tuple[Tensor, ...]], count: int) -> list[Tensor]:
    total = list(next(parts))
    for part in parts:
        torch._foreach_add_(total, part)
    return [tensor / count for tensor in total]
