"""Solve for a budget: the ratio at which the pruned network's MACs meet a fraction of the dense one's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from prunelib.errors import MethodError
from prunelib.methods.isomorphic.groups import Group
from prunelib.methods.isomorphic.ranking import Ranking
from prunelib.models.attention import is_attention
from prunelib.models.widths import Side, is_depthwise

STEPS = 40  # halvings of [0, 1]: finer than any network's granularity
TOLERANCE = 0.002  # of the dense MACs; single steps beyond the one ratio are taken only to get this near


@dataclass(frozen=True)
class Term:
    """MACs of one layer for one input: ``factor`` · outputs · inputs, where a width that counts nothing is 1.

    factor is positions · kernel area / groups of a convolution, the rows of a linear layer, 2 · tokens² of attention
    (whose inputs are the width of all heads).
    """

    layer: str
    factor: float
    outputs: int
    inputs: int


class Arithmetic:
    """MACs of a network as a function of its widths, from one forward pass: no copy is pruned to try a ratio."""

    def __init__(self, model: nn.Module, example: Tensor, groups: list[Group]) -> None:
        """Trace one input of ``example`` and note every convolution, linear layer and attention product."""
        self._terms = _terms(model, example)
        self._losses = {group.name: _losses(group) for group in groups}

    def macs(self, removed: Mapping[str, Tensor]) -> int:
        """Return the MACs of one input once the given channels (by group name) are removed."""
        gone: dict[tuple[str, Side], int] = {}
        for name, channels in removed.items():
            keys, table = self._losses[name]
            for key, count in zip(keys, table[:, channels].sum(1).tolist(), strict=True):
                gone[key] = gone.get(key, 0) + count
        return round(sum(_macs(term, gone) for term in self._terms))


@dataclass(frozen=True)
class Solution:
    """The ratio found, what it removes, and the MACs before and after, by the same arithmetic."""

    ratio: float
    removed: dict[str, Tensor]
    dense_macs: int
    macs: int


def solve(ranking: Ranking, arithmetic: Arithmetic, fraction: float) -> Solution:
    """Find the ratio whose MACs lie nearest to ``fraction`` of the dense network's, by bisection.

    Where several sets take their next step at the same ratio, only the first of them (in traversal order) may take it;
    a remaining gap is closed by single steps of single sets, so that all modes are compared at the same MACs.
    Raises MethodError when even the largest ratio leaves too much, because of floors, rounding or fixed layers.
    """
    dense = arithmetic.macs({})
    target = fraction * dense

    @cache
    def cost(counts: tuple[int, ...]) -> int:
        return arithmetic.macs(ranking.removed(counts))

    def gap(counts: tuple[int, ...]) -> float:
        return abs(cost(counts) - target)

    least = cost(ranking.counts(1.0)) / dense
    if least > fraction:
        raise MethodError(
            f"budget macs {fraction:g}: the smallest network these rules allow still has {least:.3f} of the dense MACs;"
            " lower min_keep or round_to, or prune heads and head_dims too."
        )
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(ranking.counts(middle)) > target else (low, middle)
    few, many = ranking.counts(low), ranking.counts(high)
    best = min((many[:index] + few[index:] for index in range(len(few) + 1)), key=gap)
    best = _close(best, gap, ranking, TOLERANCE * dense)
    return Solution(high, ranking.removed(best), dense, cost(best))


def _close(
    counts: tuple[int, ...], gap: Callable[[tuple[int, ...]], float], ranking: Ranking, tolerance: float
) -> tuple[int, ...]:
    """Move single sets by single steps while that narrows the gap."""
    while gap(counts) > tolerance:
        nearer = min(_neighbours(counts, ranking), key=gap, default=counts)
        if gap(nearer) >= gap(counts):
            break
        counts = nearer
    return counts


def _neighbours(counts: tuple[int, ...], ranking: Ranking) -> Iterator[tuple[int, ...]]:
    for index, limit in enumerate(ranking.limits):
        for change in range(-ranking.rules.round_to, ranking.rules.round_to + 1):
            if change and 0 <= counts[index] + change <= limit:
                yield (*counts[:index], counts[index] + change, *counts[index + 1 :])


def _losses(group: Group) -> tuple[list[tuple[str, Side]], Tensor]:
    """Return (layer, side) and, per row, how many of that side's channels go with each channel of the group."""
    members = [member for member in group.members if member.axis is None]
    rows = [torch.bincount(member.roots, minlength=group.size) for member in members]
    return [(member.name, member.side) for member in members], torch.stack(rows)


def _terms(model: nn.Module, example: Tensor) -> list[Term]:
    found: list[Term] = []
    names = {module: name for name, module in model.named_modules()}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        name = names[module]
        if isinstance(module, _ConvNd):
            found.append(_convolution(module, name, inputs[0], output))
        elif isinstance(module, nn.Linear):
            rows = output[0].numel() / module.out_features
            found.append(Term(name, rows, module.out_features, module.in_features))
        else:
            found.append(Term(f"{name}.proj", 2 * inputs[0].shape[1] ** 2, 1, module.proj.in_features))

    kinds = (_ConvNd, nn.Linear)
    watched = [module for module in model.modules() if isinstance(module, kinds) or is_attention(module)]
    hooks = [module.register_forward_hook(note) for module in watched]
    model.eval()
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    return found


def _convolution(layer: _ConvNd, name: str, source: Tensor, output: Tensor) -> Term:
    """Positions × kernel × outputs × inputs / groups; a transposed convolution slides over its input."""
    positions = (source if layer.transposed else output)[0, 0].numel()
    kernel = layer.weight[0, 0].numel()
    if is_depthwise(layer):
        return Term(name, positions * kernel, layer.out_channels, 1)
    return Term(name, positions * kernel / layer.groups, layer.out_channels, layer.in_channels)


def _macs(term: Term, gone: Mapping[tuple[str, Side], int]) -> float:
    outputs = term.outputs - gone.get((term.layer, "out"), 0) if term.outputs > 1 else 1
    inputs = term.inputs - gone.get((term.layer, "in"), 0) if term.inputs > 1 else 1
    return term.factor * outputs * inputs
