"""Which channels of a network are dead: always zero, or read by nobody.

A channel is dead when it is always zero where it is read (its norms are shut, or a filter and bias of zeros feed norms
without shift) or when every consumer's weights for it are 0. Channels that are coupled, as in a residual stream, go
together or stay. A channel that is constant but not zero stays. What is dead may make more dead, so the search repeats.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from prunelib.models.widths import channel_axis

if TYPE_CHECKING:
    from prunelib.channels.coupling import Group, Member


def may_shrink(network: nn.Module) -> bool:
    """Whether any layer has an output that is always zero, an input that it never reads, or a norm that is shut."""
    return any(_empty(module) for module in network.modules())


@torch.no_grad()
def clear_dead_(network: nn.Module, groups: list[Group]) -> dict[str, Tensor]:
    """Find dead channels until no more turn up and empty them in place; return their ascending ids by group name.

    Every group keeps at least one channel. The network's output stays as it is, in training and in evaluation mode.
    """
    dead = {group.name: torch.zeros(group.size, dtype=torch.bool) for group in groups}
    found = True
    while found:
        found = False
        for group in groups:
            fresh = (_silent(network, group) | _unread(network, group)) & ~dead[group.name]
            if fresh.any():
                found, dead[group.name] = True, dead[group.name] | fresh
                _clear(network, group, fresh)
    for channels in dead.values():
        channels[0] &= not channels.all()
    return {name: channels.nonzero().flatten() for name, channels in dead.items()}


def _empty(module: nn.Module) -> bool:
    if isinstance(module, _BatchNorm):
        return module.affine and bool(((module.weight == 0) & (module.bias == 0)).any())
    if isinstance(module, (_ConvNd, nn.Linear)):
        return any(bool(_zero(module.weight, axis).any()) for axis in (0, 1))
    return False


def _silent(network: nn.Module, group: Group) -> Tensor:
    """Return which channels are always zero where they are read: (size,) booleans on the CPU.

    Between one producer and one reader what counts is the last norm. Elsewhere all norms of the group must be shut, and
    of several producers each must be zero by itself as well, unless each has a norm.
    """
    members = list(_members(network, group))
    producers = [(member, layer) for member, layer in members if member.side == "out" and _weighted(layer)]
    norms = [(member, layer) for member, layer in members if isinstance(layer, _BatchNorm)]
    if len(producers) == 1 and len(members) - len(norms) == 2:  # the third kind of member is a reader
        zero = _by_root(producers[0][0], _silent_filters(producers[0][1]), group.size)
        for member, norm in norms:  # they stand in the order in which the channel passes them
            shut, keeps_zero = (_by_root(member, flags, group.size) for flags in _norm_flags(norm))
            zero = shut | zero & keeps_zero
        return zero
    shut = [(member, _norm_flags(norm)[0]) for member, norm in norms]
    if len(norms) < len(producers):
        shut += [(member, _silent_filters(layer)) for member, layer in producers]
    silent = torch.ones(group.size, dtype=torch.bool)
    for member, flags in shut:
        silent &= _by_root(member, flags, group.size)
    return silent


def _silent_filters(layer: nn.Module) -> Tensor:
    zero = _zero(layer.weight, channel_axis(layer, "out"))
    return zero & (layer.bias == 0) if layer.bias is not None else zero


def _norm_flags(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return which channels a norm turns into zeros, and of which it keeps zeros at zero, in both modes."""
    every = torch.ones(norm.num_features, dtype=torch.bool)
    centred = norm.running_mean == 0 if norm.running_mean is not None else every
    if not norm.affine:
        return ~every, centred
    unshifted = norm.bias == 0
    return unshifted & (norm.weight == 0), unshifted & centred


def _unread(network: nn.Module, group: Group) -> Tensor:
    """Return which channels every consumer multiplies by zero: (size,) booleans on the CPU."""
    readers = [(member, layer) for member, layer in _members(network, group) if member.side == "in"]
    unread = torch.full((group.size,), bool(readers))
    for member, layer in readers:
        unread &= _by_root(member, _zero(layer.weight, channel_axis(layer, "in")), group.size)
    return unread


def _clear(network: nn.Module, group: Group, channels: Tensor) -> None:
    """Zero all that belongs to the given channels; the output stays the same because they are dead."""
    for member, layer in _members(network, group):
        if layer.weight is None:  # a norm without scale
            continue
        index = member.channels[channels[member.roots]].to(layer.weight.device)
        layer.weight.index_fill_(channel_axis(layer, member.side), index, 0)
        if member.side == "out" and layer.bias is not None:
            layer.bias.index_fill_(0, index, 0)


def _members(network: nn.Module, group: Group) -> Iterator[tuple[Member, nn.Module]]:
    for member in group.members:
        yield member, network.get_submodule(member.name)


def _weighted(layer: nn.Module) -> bool:
    return isinstance(layer, (_ConvNd, nn.Linear))


def _zero(weight: Tensor, axis: int) -> Tensor:
    """Return which slices along an axis hold nothing but zeros."""
    return (weight == 0).movedim(axis, 0).flatten(1).all(dim=1)


def _by_root(member: Member, flags: Tensor, size: int) -> Tensor:
    """Gather a layer's flags by the group's channels: True where all of a channel's slices are True."""
    broken = member.roots[~flags.cpu()[member.channels]]
    gathered = torch.ones(size, dtype=torch.bool)
    gathered[broken] = False
    return gathered
