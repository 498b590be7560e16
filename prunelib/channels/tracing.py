"""Follow channels through a network: torch-pruning's dependency graph, read into plain groups.

The closure over the graph's edges is our own: torch-pruning 1.6.1 compares every new entry with all others, which takes
minutes where many branches are concatenated. Entries come in its order, which the signatures depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import lcm
from typing import Any

import torch
import torch_pruning
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning._helpers import _HybridIndex
from torch_pruning.ops import _OutputOp

from prunelib.channels.coupling import Fixed, Group, Member
from prunelib.channels.mending import mend_splits_
from prunelib.errors import MethodError
from prunelib.models.attention import Attention, attentions
from prunelib.models.parts import Part, Slot, is_merge, part_of
from prunelib.models.widths import NORMS, is_depthwise, width

LAYERS = (_ConvNd, nn.Linear, *NORMS)
MOST = 1_000_000  # coupled channels of one group, repeats counted; beyond that the coupling is an artefact of tracing
FAULTS = (TypeError, ValueError, AttributeError, IndexError, KeyError, RuntimeError, AssertionError, ZeroDivisionError)


class _Whole(torch_pruning.BasePruningFunc):
    """Tells torch-pruning how wide a part is; nothing is ever cut through it."""

    def prune_out_channels(self, layer: nn.Module, idxs: Any) -> nn.Module:
        """Mark the outputs of a part."""
        return layer

    def prune_in_channels(self, layer: nn.Module, idxs: Any) -> nn.Module:
        """Mark the inputs of a part."""
        return layer

    def get_out_channels(self, layer: nn.Module) -> int | None:
        """Return the number of output channels."""
        return _part_width(layer, "outputs")

    def get_in_channels(self, layer: nn.Module) -> int | None:
        """Return the number of input channels."""
        return _part_width(layer, "inputs")


@dataclass
class _Entry:
    """One node's side in a group: the dependency that led there first, and its channels with their roots."""

    dependency: Any
    roots: dict[int, int | None] = field(default_factory=dict)  # by channel; the first root that led to it
    joined: set[tuple[int, int]] = field(default_factory=set)  # roots that lead to one channel: they go together


class Tracer:
    """The dependency graph of one network: its groups in traversal order."""

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        """Trace one forward pass in evaluation mode; raises MethodError where torch-pruning can't."""
        self._model = model
        self._hidden = _hidden(model, example)
        customized = {type(model.get_submodule(found.name)): _Whole() for found in self._hidden}
        customized |= {type(module): _Whole() for module in model.modules() if is_merge(module)}
        try:
            with torch.enable_grad():
                self._graph = torch_pruning.DependencyGraph().build_dependency(
                    model, example, unwrapped_parameters=[], customized_pruners=customized, ignored_layers=[],
                    verbose=False,
                )  # fmt: skip
            model.train().eval()  # some modules cache tables in evaluation mode, with the graph they came from
            mend_splits_(self._graph)
        except FAULTS as error:
            raise MethodError(f"{type(model).__name__}: torch-pruning can't follow its layers ({error}).") from error

    def groups(self) -> Iterator[Group | Fixed]:
        """Yield every set of coupled output channels; attention is rooted at the inputs of its output layer."""
        heads = {self._model.get_submodule(path): found for found in attentions(self._model) for path in found.sources}
        names = {module: name for name, module in self._model.named_modules()}
        seen: set[Any] = set()
        for layer in list(self._graph.module2node):
            if layer in seen or not isinstance(layer, _ConvNd | nn.Linear):
                continue
            found = heads.get(layer)
            entries, why = self._closure(*self._root(layer, found))
            seen.add(layer)
            seen.update(entry.dependency.target.module for entry in entries if self._is_out(entry))
            seen.update(self._model.get_submodule(path) for path in (found.sources if found else []))
            yield Fixed(names[layer], width(layer, "out"), why) if why else self._group(names[layer], entries, found)
        yield from map(self._hidden_group, self._hidden)

    def _root(self, layer: nn.Module, attention: Attention | None) -> tuple[nn.Module, Callable[..., Any], int]:
        if attention is None:
            function, size = self._graph.get_pruner_of_module(layer).prune_out_channels, width(layer, "out")
        else:
            layer = self._model.get_submodule(attention.proj)
            function, size = self._graph.get_pruner_of_module(layer).prune_in_channels, width(layer, "in")
        return layer, function, size

    def _closure(self, root: nn.Module, function: Callable[..., Any], size: int) -> tuple[list[_Entry], str]:
        """Return all that depends on the root's channels, and why that can't be pruned as soon as this is plain."""
        node = self._graph.module2node[root]
        first = torch_pruning.dependency.Dependency(function, function, source=node, target=node)
        entries: dict[Any, _Entry] = {}
        stack = [(first, [_HybridIndex(idx=index, root_idx=index) for index in range(size)])]
        self._note(entries, *stack[0])
        total, why = size, ""
        while stack:
            dependency, indices = stack.pop()
            for edge in dependency.target.dependencies:
                if not edge.is_triggered_by(dependency.handler):
                    continue
                mapped = indices
                for mapping in edge.index_mapping:
                    mapped = mapping(mapped) if mapping is not None else mapped
                if mapped and self._note(entries, edge, mapped):
                    stack.append((edge, mapped))
                    total += len(mapped)
                    why = self._misfit(edge, max(index.idx for index in mapped))
                if why or total > MOST:
                    return list(entries.values()), why or "it is coupled to too much to be followed"
        return list(entries.values()), ""

    @staticmethod
    def _note(entries: dict[Any, _Entry], dependency: Any, indices: list[_HybridIndex]) -> bool:
        """Add channels to the entry of a dependency's target; return whether any of them is new."""
        entry = entries.setdefault((dependency.target, dependency.handler), _Entry(dependency))
        before = len(entry.roots)
        for index in indices:
            first = entry.roots.setdefault(index.idx, index.root_idx)
            if first is not None and index.root_idx is not None and first != index.root_idx:
                entry.joined.add((first, index.root_idx))
        return len(entry.roots) > before

    def _is_out(self, entry: _Entry) -> bool:
        return self._graph.is_out_channel_pruning_fn(entry.dependency.handler)

    def _group(self, name: str, entries: list[_Entry], attention: Attention | None) -> Group | Fixed:
        size = _join_(entries)
        why = next(filter(None, map(self._obstacle, entries)), "")
        if why or size < 2:
            return Fixed(name, size, why or "has a single channel")
        members = tuple(member for entry in entries for member in self._members(entry))
        if attention is not None and not set(attention.sources) <= {member.name for member in members}:
            return Fixed(name, size, "its queries, keys and values can't be followed to the output layer")
        blocks = lcm(attention.heads if attention else 1, *(self._blocks(entry) for entry in entries))
        if size % blocks:
            return Fixed(name, size, f"its {size} channels don't divide into {blocks} equal runs")
        return Group(name, size, blocks, self._signature(entries), members, attention)

    def _obstacle(self, entry: _Entry) -> str:
        """Return why a group with this entry can't be pruned, or nothing."""
        target = entry.dependency.target
        module = target.module
        last = self._is_out(entry) and not target.outputs
        if isinstance(module, _OutputOp) or (last and not isinstance(module, nn.Parameter)):
            return "holds the model's outputs"
        if None in entry.roots.values():
            return "its channels can't be followed through the graph"
        if isinstance(module, nn.Parameter) or part_of(module) is not None:
            return ""
        if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) != 1:
            return "contains a LayerNorm over several axes"
        uncut = not isinstance(module, LAYERS) and list(module.parameters(recurse=False))
        return f"contains a {type(module).__name__}, whose channels can't be cut" if uncut else ""

    def _misfit(self, dependency: Any, last: int) -> str:
        """Return a complaint when a layer or part is too narrow for channel ``last``, or nothing."""
        module = dependency.target.module
        side = "out" if self._graph.is_out_channel_pruning_fn(dependency.handler) else "in"
        if isinstance(module, LAYERS):
            wide = width(module, side)
        elif isinstance(module, nn.Parameter) or part_of(module) is None:
            return ""
        else:
            wide = _part_width(module, "outputs" if side == "out" else "inputs")
        return f"its channels don't fit {self._graph._module2name[module]}" if last >= wide else ""

    def _members(self, entry: _Entry) -> list[Member]:
        """Return the layer sides or parameters of one entry; operations without weights have none.

        A parameter too short for the channels has another axis there (a table with a value per head, say): attention's
        products look element-wise to the graph. Trying the group out shows whether that is so.
        """
        target, out = entry.dependency.target, self._is_out(entry)
        module = target.module
        channels, roots = torch.tensor(list(entry.roots)), torch.tensor(list(entry.roots.values()))
        if isinstance(module, nn.Parameter):
            axis = target.pruning_dim % module.dim()
            fits = int(channels.max()) < module.shape[axis]
            return [Member(self._graph._param_to_name[module], "out", channels, roots, axis)] if fits else []
        name, part = self._graph._module2name.get(module, ""), part_of(module)
        if part is not None:
            slots = part.outputs if out else part.inputs
            return [found for slot in slots if (found := _slot(module, name, slot, channels, roots)) is not None]
        if isinstance(module, LAYERS):
            return [Member(name, "out" if out else "in", channels, roots)]
        return []

    def _blocks(self, entry: _Entry) -> int:
        """Return into how many equal runs one entry divides its channels: grouped convolutions and group norms do."""
        module = entry.dependency.target.module
        if isinstance(module, nn.GroupNorm):
            return module.num_groups
        if isinstance(module, _ConvNd):
            return 1 if is_depthwise(module) else module.groups
        part = None if isinstance(module, nn.Parameter) else part_of(module)
        return part.blocks if part is not None else 1

    def _signature(self, entries: list[_Entry]) -> str:
        parts = []
        for entry in entries:
            side = "out" if self._is_out(entry) else "in"
            ends = entry.dependency.source.module, entry.dependency.target.module
            parts += [">".join(f"{_class(module)}:{side}" for module in ends)]
        return " ".join(parts)

    def _hidden_group(self, attention: Attention) -> Group:
        """Return the channels inside an attention module whose projections no tracing sees."""
        module, size = self._model.get_submodule(attention.name), attention.heads * attention.head_dim
        roots, runs = torch.arange(size), 3 // len(attention.projections)
        slots = [Slot(attention.output, "in"), *(Slot(name, runs=runs) for name in attention.projections)]
        slots += [Slot(name, axis=0) for name in ("q_bias", "v_bias")]
        found = [_slot(module, attention.name, slot, roots, roots) for slot in slots]
        members = tuple(member for member in found if member is not None)
        return Group(attention.sources[0], size, attention.heads, f"inside {_class(module)}", members, attention)


def _join_(entries: list[_Entry]) -> int:
    """Number the channels of a group: roots that lead to one position count as one; return how many there are."""
    size = len(entries[0].roots)
    pairs = [pair for entry in entries for pair in entry.joined]
    edges = coo_array(([True] * len(pairs), tuple(zip(*pairs, strict=True)) if pairs else ([], [])), (size, size))
    count, labels = connected_components(edges, directed=False)
    if count < size:
        for entry in entries:
            entry.roots = {index: root if root is None else int(labels[root]) for index, root in entry.roots.items()}
    return count


def _hidden(model: nn.Module, example: Tensor) -> list[Attention]:
    """Return the attention modules whose projections are used without being called, all with the same widths each."""
    found, called = attentions(model), set()
    layers = {path: model.get_submodule(path) for attention in found for path in attention.sources}
    hooks = [
        layer.register_forward_hook(lambda *_, path=path: called.add(path)) for path, layer in layers.items()
    ]  # fmt: skip
    model.eval()
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    return [attention for attention in found if not called & set(attention.sources)]


def _part_width(module: nn.Module, side: str) -> int | None:
    part: Part | None = part_of(module)
    slot = getattr(part, side)[0] if part is not None else None
    if slot is None:
        return None
    if slot.axis is not None:
        return getattr(module, slot.path).shape[slot.axis] // slot.runs
    return width(module.get_submodule(slot.path), slot.side) // slot.runs


def _slot(module: nn.Module, name: str, slot: Slot, channels: Tensor, roots: Tensor) -> Member | None:
    """Return the member that a part's slot makes of the part's channels; None where there is nothing to cut."""
    path = f"{name}.{slot.path}" if name else slot.path
    if slot.axis is not None:
        tensor = getattr(module, slot.path, None)
        if tensor is None:
            return None
        length = tensor.shape[slot.axis] // slot.runs
    else:
        layer = module.get_submodule(slot.path)
        if not isinstance(layer, LAYERS):
            return None
        length = width(layer, slot.side) // slot.runs
    repeated = torch.cat([channels + run * length for run in range(slot.runs)])
    return Member(path, slot.side, repeated, roots.repeat(slot.runs), slot.axis)


def _class(module: nn.Module | nn.Parameter) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
