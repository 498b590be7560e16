"""Physical removal of what a mask or gates have made dead: a smaller dense network with the same output.

A channel is dead when it is always zero (its norms have scale and shift 0; without a norm, its filter and bias are 0)
or when nobody reads it (every consumer's weights for it are 0). Channels that are coupled, as in a residual stream, go
together or stay. A channel that is constant but not zero stays. What is dead may make more dead, so the search repeats.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from prunelib import registry
from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.measure.cost import macs, parameters
from prunelib.models.structure import save_structure
from prunelib.models.widths import NORMS, channel_axis
from prunelib.storage.weights import load_weights
from prunelib.tasks.base import open_task

if TYPE_CHECKING:
    from prunelib.methods.isomorphic.groups import Group, Member

TOLERANCE = 1e-5  # largest difference, relative to the output's largest value, that rounding may make


def compacted(model: nn.Module, mask: Mapping[str, Tensor], example: Tensor) -> nn.Module:
    """Return a smaller copy of ``model`` under ``mask`` (booleans by parameter name), in evaluation mode.

    Its output equals that of the masked model in evaluation mode up to rounding, which is checked on ``example``;
    MethodError when it does not (an operation between layers that turns zero into something else).
    """
    network = copy.deepcopy(model).eval()
    Mask(mask).apply_(network)
    if not any(_empty(module) for module in network.modules()):
        return network
    # Tracing a network costs seconds of imports; most runs have nothing to remove and need none of them.
    from prunelib.methods.isomorphic.groups import find_groups
    from prunelib.methods.isomorphic.removal import remove_

    with torch.no_grad():
        expected = network(example)
    groups = [group for group in find_groups(network, example)[0] if _removable(network, group)]
    remove_(network, groups, _dead_channels(network, groups))
    with torch.no_grad():
        difference = (network(example) - expected).abs().max()
    if not difference <= TOLERANCE * expected.abs().max().clamp(min=1):
        raise MethodError(
            f"compaction of {type(model).__name__} changes its output by {float(difference):.2g}: it has an operation "
            "between layers that does not keep zero at zero; only unpruned or masked networks of this kind can be used."
        )
    return network


def compacted_size(model: nn.Module, mask: Mapping[str, Tensor], example: Tensor) -> tuple[int, int]:
    """Return (parameters, MACs) of the compacted network."""
    network = compacted(model, mask, example)
    return parameters(network), macs(network, example)


def slim_run(
    settings: Mapping[str, Any],
    data: Path,
    weights: Path,
    gates: Path,
    outputs: Mapping[str, Path],
    device: str = "cpu",
) -> None:
    """Compact a finished run and write outputs["weights"] (safetensors) and outputs["record"] (JSON).

    ``prunelib.models.structure.load_structure`` builds the smaller network from them. Raises ArtefactError when the
    weights or the mask are not this run's, MethodError when the network can't be compacted.
    """
    task = open_task(settings, data, device)
    model = task.build()
    dense = {"parameters": parameters(model), "macs": macs(model, task.example)}
    model.load_state_dict(load_weights(weights))
    network = compacted(model, Mask.load(gates), task.example)
    facts = {"classes": "classes", "in_channels": "channels"}
    needed = registry.entry("model", settings["model"]["builder"]).arguments
    record = {
        "model": dict(settings["model"]),
        "facts": {name: getattr(task, facts[name]) for name in needed},
        "dense": dense,
        "slim": {"parameters": parameters(network), "macs": macs(network, task.example)},
    }
    save_structure(network, record, outputs["weights"], outputs["record"])


def _removable(network: nn.Module, group: Group) -> bool:
    """Whether single channels of a group can go: no norm mixes its channels and no layer divides them into runs."""
    modules = [network.get_submodule(member.name) for member in group.members if member.axis is None]
    mixed = any(isinstance(module, NORMS) and not isinstance(module, _BatchNorm) for module in modules)
    return group.blocks == 1 and not mixed and len(modules) == len(group.members)


def _empty(module: nn.Module) -> bool:
    """Whether a layer has an output that is always zero, an input that it never reads, or a norm that is shut."""
    if isinstance(module, _BatchNorm):
        return module.affine and bool(((module.weight == 0) & (module.bias == 0)).any())
    if isinstance(module, (_ConvNd, nn.Linear)):
        return any(bool(_zero(module.weight, axis).any()) for axis in (0, 1))
    return False


@torch.no_grad()
def _dead_channels(network: nn.Module, groups: list[Group]) -> dict[str, Tensor]:
    """Find dead channels until no more turn up, emptying them in place; every group keeps at least one channel."""
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


def _silent(network: nn.Module, group: Group) -> Tensor:
    """Return which channels are always zero where they are read: (size,) booleans on the CPU.

    All norms of the group must be shut. Of several producers each must be zero by itself as well, unless each has a
    norm; a single producer's norms settle it.
    """
    producers = [layer for member, layer in _members(network, group) if member.side == "out" and _weighted(layer)]
    norms = [layer for _, layer in _members(network, group) if isinstance(layer, _BatchNorm)]
    settled = len(norms) >= len(producers)
    silent = torch.ones(group.size, dtype=torch.bool)
    for member, layer in _members(network, group):
        if isinstance(layer, _BatchNorm):
            quiet = (layer.weight == 0) & (layer.bias == 0) if layer.affine else torch.zeros(layer.num_features) > 0
        elif member.side == "out" and not settled:
            quiet = _zero(layer.weight, channel_axis(layer, "out"))
            quiet = quiet & (layer.bias == 0) if layer.bias is not None else quiet
        else:
            continue
        silent &= _by_root(member, quiet, group.size)
    return silent


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
