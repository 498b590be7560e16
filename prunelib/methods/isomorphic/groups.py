"""Coupled channels: torch-pruning's dependency graph as plain groups, and what can't be pruned with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import lcm

import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning.ops import _OutputOp

from prunelib.models.attention import Attention, attentions
from prunelib.models.widths import NORMS, Side, is_depthwise, width

LAYERS = (_ConvNd, nn.Linear, *NORMS)


@dataclass(frozen=True, eq=False)
class Member:
    """One side of a layer (or one axis of a bare parameter) that loses its slices together with the group.

    ``channels[i]`` is the slice that goes when the group's channel ``roots[i]`` goes.
    """

    name: str
    side: Side
    channels: Tensor
    roots: Tensor
    axis: int | None = None  # set for bare parameters only


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that can only be removed together: ``size`` of them, in ``blocks`` runs which must stay equally long.

    ``signature`` is the structural tag that isomorphic groups share (the paper's graph isomorphism, section 3.2, as the
    authors' code tests it: the ordered classes and sides of all entries; sizes are not compared).
    """

    name: str
    size: int
    blocks: int
    signature: str
    members: tuple[Member, ...]
    attention: Attention | None = None


@dataclass(frozen=True)
class Fixed:
    """A group that stays as it is, and why."""

    name: str
    size: int
    why: str


def find_groups(model: nn.Module, example: Tensor) -> tuple[list[Group], list[Fixed]]:
    """Trace one forward pass and return every prunable group, in traversal order, and every other one with its reason.

    A group is fixed when it holds the model's outputs (so a classifier keeps any number of classes), when it has a
    single channel, or when a layer in it can't be cut. The model is left in evaluation mode.
    """
    with torch.enable_grad():
        graph = torch_pruning.DependencyGraph().build_dependency(
            model, example, unwrapped_parameters=[], customized_pruners={}, ignored_layers=[], verbose=False
        )
    found = [_group(graph, *root) for root in _roots(graph, model)]
    groups = [group for group in found if isinstance(group, Group)]
    return groups, [group for group in found if isinstance(group, Fixed)]


def _roots(
    graph: torch_pruning.DependencyGraph, model: nn.Module
) -> Iterator[tuple[str, torch_pruning.dependency.Group, Attention | None]]:
    """Yield one full group per set of coupled output channels; attention is rooted at its projection's inputs."""
    heads = {model.get_submodule(found.qkv): found for found in attentions(model)}
    names = {module: name for name, module in model.named_modules()}
    seen: set[nn.Module] = set()
    for layer in list(graph.module2node):
        if layer in seen or not isinstance(layer, _ConvNd | nn.Linear):
            continue
        attention = heads.get(layer)
        root, side = (model.get_submodule(attention.proj), "in") if attention else (layer, "out")
        pruner = graph.get_pruner_of_module(root)
        function = pruner.prune_in_channels if side == "in" else pruner.prune_out_channels
        group = graph.get_pruning_group(root, function, list(range(width(root, side))))
        seen.update(item.dep.target.module for item in group.items if graph.is_out_channel_pruning_fn(item.dep.handler))
        yield names[layer], group, attention


def _group(
    graph: torch_pruning.DependencyGraph, name: str, raw: torch_pruning.dependency.Group, attention: Attention | None
) -> Group | Fixed:
    size = len(raw[0].idxs)
    why = _obstacle(graph, raw)
    if why or size < 2:
        return Fixed(name, size, why or "has a single channel")
    members = tuple(member for item in raw.items if (member := _member(graph, item)) is not None)
    blocks = lcm(attention.heads if attention else 1, *(_blocks(graph, item) for item in raw.items))
    if size % blocks:
        return Fixed(name, size, f"its {size} channels don't divide into {blocks} equal runs")
    return Group(name, size, blocks, _signature(graph, raw), members, attention)


def _obstacle(graph: torch_pruning.DependencyGraph, raw: torch_pruning.dependency.Group) -> str:
    """Return why a group can't be pruned, or nothing."""
    for item in raw.items:
        module, out = item.dep.target.module, graph.is_out_channel_pruning_fn(item.dep.handler)
        if isinstance(module, _OutputOp) or (out and not item.dep.target.outputs):
            return "holds the model's outputs"
        if any(root is None for root in item.root_idxs):
            return "its channels can't be followed through the graph"
        if isinstance(module, nn.Parameter) or not list(module.parameters(recurse=False)):
            continue
        if not isinstance(module, LAYERS):
            return f"contains a {type(module).__name__}, whose channels can't be cut"
        if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) != 1:
            return "contains a LayerNorm over several axes"
        if max(item.idxs) >= width(module, "out" if out else "in"):
            return f"its channels don't fit {graph._module2name[module]}"
    return ""


def _member(graph: torch_pruning.DependencyGraph, item: torch_pruning._helpers.GroupItem) -> Member | None:
    """Return the layer side or parameter of one entry; operations without weights have none."""
    module = item.dep.target.module
    channels, roots = torch.tensor(item.idxs), torch.tensor(item.root_idxs)
    if isinstance(module, nn.Parameter):
        axis = item.dep.target.pruning_dim % module.dim()
        return Member(graph._param_to_name[module], "out", channels, roots, axis)
    if isinstance(module, LAYERS):
        side = "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in"
        return Member(graph._module2name[module], side, channels, roots)
    return None


def _blocks(graph: torch_pruning.DependencyGraph, item: torch_pruning._helpers.GroupItem) -> int:
    """Return into how many equal runs one entry divides its channels: grouped convolutions and group norms do."""
    module = item.dep.target.module
    if isinstance(module, nn.GroupNorm):
        return module.num_groups
    return module.groups if isinstance(module, _ConvNd) and not is_depthwise(module) else 1


def _signature(graph: torch_pruning.DependencyGraph, raw: torch_pruning.dependency.Group) -> str:
    parts = []
    for item in raw.items:
        side = "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in"
        parts += [f"{_class(item.dep.source.module)}:{side}>{_class(item.dep.target.module)}:{side}"]
    return " ".join(parts)


def _class(module: nn.Module | nn.Parameter) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def removed_positions(groups: list[Group], removed: Mapping[str, Tensor]) -> dict[tuple[str, Side, int | None], Tensor]:
    """Translate removed channels (ascending ids by group name) to positions per (layer, side, axis), ascending."""
    positions: dict[tuple[str, Side, int | None], list[Tensor]] = {}
    for group in groups:
        gone = torch.zeros(group.size, dtype=torch.bool)
        gone[removed.get(group.name, torch.empty(0, dtype=torch.long))] = True
        for member in group.members:
            hit = member.channels[gone[member.roots]]
            if len(hit):
                positions.setdefault((member.name, member.side, member.axis), []).append(hit)
    return {key: torch.cat(parts).unique() for key, parts in positions.items()}
