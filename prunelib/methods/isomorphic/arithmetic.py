"""What a network would cost with fewer channels, by arithmetic on its widths: no copy is pruned to try a ratio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from prunelib.channels.coupling import Group
from prunelib.measure.cost import macs_by_module
from prunelib.models.widths import NORMS, channel_axis, is_depthwise

Key = tuple[str, str | int]  # (layer, "out" or "in") or (bare parameter, axis): something whose length shrinks


@dataclass(frozen=True)
class Term:
    """A product: ``factor`` times the lengths named by ``keys``, each less what is lost of it over its divisor."""

    factor: float
    lengths: tuple[tuple[Key, int, int], ...]  # key, length now, channels lost per unit of length

    def value(self, gone: Mapping[Key, int]) -> float:
        """Return the product once ``gone`` channels are lost by key."""
        product = self.factor
        for key, length, divisor in self.lengths:
            product *= length - gone.get(key, 0) / divisor
        return product


class Arithmetic:
    """MACs and parameters of a network as functions of what is removed, from one counted forward pass."""

    def __init__(self, model: nn.Module, example: Tensor, groups: list[Group]) -> None:
        """Count ``model`` on ``example`` and note on which widths every layer's and tensor's share depends."""
        self._losses = {group.name: _losses(group) for group in groups}
        counts, root = macs_by_module(model, example), type(model).__name__
        per_layer = {name: counts.get(f"{root}.{name}", 0) for name, _ in model.named_modules()}
        self._macs = [*_layer_terms(model, per_layer), *_attention_terms(model, per_layer, groups)]
        self._macs.append(Term(counts["Global"] - sum(term.value({}) for term in self._macs), ()))  # of fixed size
        self._parameters = [_tensor_term(model, name, parameter) for name, parameter in model.named_parameters()]

    def macs(self, removed: Mapping[str, Tensor]) -> int:
        """Return the MACs of one input once the given channels (by group name) are removed."""
        gone = self._gone(removed)
        return round(sum(term.value(gone) for term in self._macs))

    def parameters(self, removed: Mapping[str, Tensor]) -> int:
        """Return the number of parameters once the given channels (by group name) are removed."""
        gone = self._gone(removed)
        return round(sum(term.value(gone) for term in self._parameters))

    def _gone(self, removed: Mapping[str, Tensor]) -> dict[Key, int]:
        gone: dict[Key, int] = {}
        for name, channels in removed.items():
            keys, table = self._losses[name]
            for key, count in zip(keys, table[:, channels].sum(1).tolist(), strict=True):
                gone[key] = gone.get(key, 0) + count
        return gone


def _losses(group: Group) -> tuple[list[Key], Tensor]:
    """Return keys and, per row, how many of that key's channels go with each channel of the group."""
    rows = [torch.bincount(member.roots, minlength=group.size) for member in group.members]
    keys = [(member.name, member.side if member.axis is None else member.axis) for member in group.members]
    return keys, torch.stack(rows)


def _layer_terms(model: nn.Module, counts: Mapping[str, int]) -> list[Term]:
    """MACs of convolutions and linear layers: proportional to outputs times inputs, depth-wise to channels."""
    terms = []
    for name, layer in model.named_modules():
        if not isinstance(layer, _ConvNd | nn.Linear) or not counts[name]:
            continue
        out, into = (layer.out_features, layer.in_features) if isinstance(layer, nn.Linear) else (
            layer.out_channels, layer.in_channels
        )  # fmt: skip
        if is_depthwise(layer):
            terms.append(Term(counts[name] / out, (((name, "out"), out, 1),)))
        else:
            terms.append(Term(counts[name] / out / into, (((name, "out"), out, 1), ((name, "in"), into, 1))))
    return terms


def _attention_terms(model: nn.Module, counts: Mapping[str, int], groups: list[Group]) -> list[Term]:
    """MACs of the products in attention: what its layers don't explain, proportional to the width of all heads."""
    terms = []
    for group in groups:
        if group.attention is None:
            continue
        name = group.attention.name
        layers = [f"{name}.{child}" for child, layer in model.get_submodule(name).named_modules() if child]
        products = counts[name] - sum(
            counts[layer] for layer in layers if not list(model.get_submodule(layer).children())
        )
        terms.append(Term(products / group.size, (((group.attention.proj, "in"), group.size, 1),)))
    return terms


def _tensor_term(model: nn.Module, name: str, parameter: nn.Parameter) -> Term:
    """Values of one parameter: the product of its axes' lengths, of which those with channels can shrink."""
    path, _, attribute = name.rpartition(".")
    layer = model.get_submodule(path)
    shrinking: dict[int, tuple[Key, int]] = {}
    if isinstance(layer, NORMS) or (isinstance(layer, _ConvNd | nn.Linear) and attribute == "bias"):
        shrinking[0] = ((path, "out"), 1)
    elif isinstance(layer, _ConvNd | nn.Linear) and attribute == "weight":
        for side in ("out",) if is_depthwise(layer) else ("out", "in"):
            axis = channel_axis(layer, side)
            shrinking[axis] = ((path, side), layer.groups if axis == 1 and isinstance(layer, _ConvNd) else 1)
    else:
        shrinking = {axis: ((name, axis), 1) for axis in range(parameter.dim())}
    lengths = tuple((key, parameter.shape[axis], divisor) for axis, (key, divisor) in shrinking.items())
    fixed = (length for axis, length in enumerate(parameter.shape) if axis not in shrinking)
    return Term(prod(fixed), lengths)
