"""How much a channel matters: weight saliency summed over all that goes with it, relative to its group's mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from prunelib.errors import MethodError
from prunelib.methods.isomorphic.groups import Group, Member
from prunelib.models.widths import channel_axis, is_depthwise
from prunelib.tasks.base import Task

Criterion = Literal["taylor", "l1", "l2", "random"]
Normalize = Literal["mean", "none"]


def gradients(model: nn.Module, task: Task, batches: int) -> dict[str, Tensor]:
    """Return the loss gradient summed over ``batches`` training batches, by parameter name (on the CPU).

    The model runs in evaluation mode (no dropout, running statistics), as the authors do it.
    """
    model.eval()
    names, parameters = zip(*model.named_parameters(), strict=True)
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    for inputs, targets in task.batches("taylor", batches):
        found = torch.autograd.grad(task.loss(model(inputs), targets), parameters, allow_unused=True)
        for total, gradient in zip(totals, found, strict=True):
            if gradient is not None:
                total += gradient
    return {name: total.cpu() for name, total in zip(names, totals, strict=True)}


def saliencies(model: nn.Module, criterion: Criterion, slopes: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return every weight's saliency by parameter name: |w · g| (taylor), |w| (l1) or w² (l2), as float64 on the CPU.

    Source: Isomorphic Pruning section 3.3 (first-order Taylor after Molchanov et al. 2019; magnitude as the ablation).
    """
    weights = {name: parameter.detach().cpu().double() for name, parameter in model.named_parameters()}
    if criterion == "taylor":
        return {name: (weight * slopes[name].double()).abs() for name, weight in weights.items()}
    return {name: weight.abs() if criterion == "l1" else weight.square() for name, weight in weights.items()}


def group_scores(
    model: nn.Module, groups: list[Group], saliency: Mapping[str, Tensor], normalize: Normalize = "mean"
) -> dict[str, Tensor]:
    """Return each group's channel scores (size,): slice sums over all members, divided by the group's mean or not.

    Counted are the weights of convolutions (depth-wise included), linear layers and norms and bare parameters, no
    biases. A mean of 1 is what lets groups of unlike scale be ranked together; a group whose scores are all zero says
    nothing about which channel is better and gets ones. Raises MethodError for scores that are not finite.
    """
    sums: dict[tuple[str, int], Tensor] = {}
    scores = {group.name: _score(model, group, saliency, sums) for group in groups}
    return {name: _relative(score) for name, score in scores.items()} if normalize == "mean" else scores


def random_scores(groups: list[Group], generator: torch.Generator) -> dict[str, Tensor]:
    """Return uniform scores in [0, 1) for every channel of every group."""
    return {group.name: torch.rand(group.size, generator=generator, dtype=torch.float64) for group in groups}


def _score(
    model: nn.Module, group: Group, saliency: Mapping[str, Tensor], sums: dict[tuple[str, int], Tensor]
) -> Tensor:
    score = torch.zeros(group.size, dtype=torch.float64)
    for member in group.members:
        name, axis, runs = _weight(model, member)
        if name not in saliency:
            continue  # a norm without weights
        if (name, axis) not in sums:
            sums[name, axis] = _slice_sums(saliency[name], axis, runs)
        score.index_add_(0, member.roots, sums[name, axis][member.channels])
    if not torch.isfinite(score).all():
        raise MethodError(f"group '{group.name}': its scores are not finite; did the dense network's training diverge?")
    return score


def _relative(score: Tensor) -> Tensor:
    mean = score.mean()
    return score / mean if mean > 0 else torch.ones_like(score)


def _weight(model: nn.Module, member: Member) -> tuple[str, int, int]:
    """Return a member's parameter, its channels' axis, and in how many runs they lie on it (grouped convolutions)."""
    if member.axis is not None:
        return member.name, member.axis, 1
    layer = model.get_submodule(member.name)
    axis = channel_axis(layer, member.side)
    grouped = isinstance(layer, _ConvNd) and not is_depthwise(layer) and axis == 1
    return f"{member.name}.weight", axis, layer.groups if grouped else 1


def _slice_sums(values: Tensor, axis: int, runs: int) -> Tensor:
    """Sum over all axes but one; with several runs, each has its own rows and its own channels on the axis."""
    if runs > 1:
        return values.reshape(runs, values.shape[0] // runs, values.shape[1], -1).sum((1, 3)).flatten()
    return values.movedim(axis, 0).reshape(values.shape[axis], -1).sum(1)
