"""First and second derivatives of the mean loss over a task's scoring batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from prunelib.tasks.base import Task


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
