"""How much a channel matters: weight saliency summed over all that goes with it, relative to its group's mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from prunelib.channels.coupling import Group, Member
from prunelib.errors import MethodError
from prunelib.methods.isomorphic.statistics import Statistics
from prunelib.models.widths import channel_axis, is_depthwise

Criterion = Literal["taylor", "taylor_abs_of_sum", "l1", "l2", "fisher", "random"]
Normalize = Literal["mean", "none"]
Counted = Literal["all", "upstream"]
FROM_DATA = ("taylor", "taylor_abs_of_sum", "fisher")  # criteria that need gradient statistics
TAYLOR = ("taylor", "taylor_abs_of_sum")


class Saliencies(Mapping[str, Tensor]):
    """Every weight's saliency by parameter name, as float64 on the CPU; each is computed when it is asked for.

    So no second copy of all weights is held at once. ``value`` makes a saliency of a weight (float64) and its name.
    """

    def __init__(self, model: nn.Module, value: Callable[[Tensor, str], Tensor]) -> None:
        self._weights, self._value = dict(model.named_parameters()), value

    def __getitem__(self, name: str) -> Tensor:
        return self._value(self._weights[name].detach().cpu().double(), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def saliencies(model: nn.Module, criterion: Criterion, statistics: Statistics | None = None) -> Saliencies:
    """Return every weight's saliency by parameter name.

    With g the summed gradient and E over samples: |w · g| (taylor), w · g (taylor_abs_of_sum: signed, its slice sums
    are made positive), w² · E[g²] (fisher: the diagonal Fisher information of Optimal Brain Damage), |w| (l1), w² (l2).
    ``statistics`` is needed for criteria of ``FROM_DATA``, with squares for fisher; without them MethodError is raised.
    Source: Isomorphic Pruning section 3.3 (Taylor after Molchanov et al. 2019; magnitude and Hessian as ablations).
    """
    if criterion in ("l1", "l2"):
        return Saliencies(model, lambda weight, _: weight.abs() if criterion == "l1" else weight.square())
    if statistics is None or (criterion == "fisher" and not statistics.squares):
        raise MethodError(
            f"criterion {criterion}: needs gradient statistics{' with squares' * (criterion == 'fisher')}."
        )
    if criterion == "fisher":
        squares, samples = statistics.squares, statistics.samples
        return Saliencies(model, lambda weight, name: weight.square() * (squares[name].double() / samples))
    sums = statistics.sums
    if criterion == "taylor_abs_of_sum":
        return Saliencies(model, lambda weight, name: weight * sums[name].double())
    return Saliencies(model, lambda weight, name: (weight * sums[name].double()).abs())


def group_scores(
    model: nn.Module,
    groups: list[Group],
    saliency: Mapping[str, Tensor],
    normalize: Normalize = "mean",
    left_out: tuple[type[nn.Module], ...] | None = None,
) -> dict[str, Tensor]:
    """Return each group's channel scores (size,): |slice sums| added up over members, over the group's mean or not.

    Counted are the weights of convolutions (depth-wise included), linear layers and norms and bare parameters, no
    biases; ``left_out`` is for the authors' choice (``upstream_leaves_out``), which knows no depth-wise convolutions
    and no bare parameters either. A mean of 1 is what lets groups of unlike scale be ranked together; a group whose
    scores are all zero says nothing about which channel is better and gets ones.
    Raises MethodError for scores that are not finite.
    """
    sums: dict[tuple[str, int], Tensor] = {}
    scores = {}
    for group in groups:
        members = [member for member in group.members if left_out is None or _upstream_counts(model, member, left_out)]
        scores[group.name] = _score(model, group, members, saliency, sums)
    return {name: _relative(score) for name, score in scores.items()} if normalize == "mean" else scores


def upstream_leaves_out(criterion: Criterion) -> tuple[type[nn.Module], ...]:
    """Return the kinds of norms that the authors' code (torch-pruning 1.6.1) leaves out of a criterion's scores."""
    return (_BatchNorm, nn.GroupNorm) if criterion in TAYLOR else (nn.GroupNorm,)


def random_scores(groups: list[Group], generator: torch.Generator) -> dict[str, Tensor]:
    """Return uniform scores in [0, 1) for every channel of every group."""
    return {group.name: torch.rand(group.size, generator=generator, dtype=torch.float64) for group in groups}


def _upstream_counts(model: nn.Module, member: Member, left_out: tuple[type[nn.Module], ...]) -> bool:
    if member.axis is not None:
        return False
    layer = model.get_submodule(member.name)
    return not is_depthwise(layer) and not isinstance(layer, left_out)


def _score(
    model: nn.Module,
    group: Group,
    members: list[Member],
    saliency: Mapping[str, Tensor],
    sums: dict[tuple[str, int], Tensor],
) -> Tensor:
    score = torch.zeros(group.size, dtype=torch.float64)
    for member in members:
        name, axis, runs = _weight(model, member)
        if name not in saliency:
            continue  # a norm without weights
        if (name, axis) not in sums:
            sums[name, axis] = _slice_sums(saliency[name], axis, runs).abs()
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
