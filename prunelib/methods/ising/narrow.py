"""A state's network at its true width: channels whose gates are shut are left out of the forward pass altogether.

The narrow weights are gathered from the full ones for one pass and nothing has to be copied back: autograd carries the
gradients into the full-size parameters. Outputs equal those of the gated network up to rounding, for a fraction of the
work. Channels that are coupled (``prunelib.channels``) stay together: a residual stream keeps whatever any of its
filters needs.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from prunelib.channels.groups import single_groups
from prunelib.errors import MethodError
from prunelib.methods.ising.gates import CONVS, NORMS, Units, evaluating, gated_forward, hooked, multiplied
from prunelib.models.widths import Side, is_depthwise, width

if TYPE_CHECKING:
    from prunelib.channels.coupling import Group

TOLERANCE = 1e-4  # largest difference to the gated output, relative to its largest value, that rounding may make
STATISTICS = ("running_mean", "running_var")
log = logging.getLogger(__name__)
K = TypeVar("K")
Positions = Mapping[tuple[str, Side], Tensor]


@dataclass(frozen=True)
class Narrow:
    """What one state leaves of a network; what a dictionary does not name is whole.

    ``kept``: the ascending channels of a (layer, side) that are computed. ``spread``: for the outputs of a norm or bare
    convolution that others read at more channels, the place of each read channel among the computed ones, or their
    number for a zero. ``gates``: float gates (n,) of layers whose filters can't be left out. ``opened``: of a linear
    layer with gated inputs, which of the inputs that reach it are open.
    """

    kept: dict[tuple[str, Side], Tensor]
    spread: dict[str, Tensor]
    gates: dict[str, Tensor]
    opened: dict[str, Tensor]


def narrower(model: nn.Module, units: Units, example: Tensor) -> Narrower | None:
    """Trace a network; None (said in the log) when it can't be traced, or leaving shut channels out changes outputs."""
    model, example = copy.deepcopy(model).cpu(), example.cpu()  # exact: a GPU may round products
    try:
        found = Narrower(model, units, example)
        if found.agrees(model, example):
            return found
        why = "it changes without them"
    except MethodError as error:
        why = str(error)
    log.warning("shut channels of this %s are computed: %s", type(model).__name__, why)
    return None


class Narrower:
    """Knows which channels of one network go with which gates, and runs it without those that are shut."""

    def __init__(self, model: nn.Module, units: Units, example: Tensor) -> None:
        """Trace which channels are coupled, by one pass that computes nothing."""
        self._units = units
        self._filters = [layer for layer in units.layers if layer.kind == "filters"]
        self._inputs = [layer.name for layer in units.layers if layer.kind == "inputs"]
        self._whole = {layer.name for layer in self._filters if model.get_submodule(layer.name).groups > 1}
        groups = [_Coupled(model, units, group) for group in single_groups(model, example)]
        self._groups = [group for group in groups if group.gated]

    def narrow(self, state: Tensor, device: torch.device) -> Narrow:
        """Return what one state (D,) on the CPU leaves of the network."""
        flags: dict[tuple[str, Side], Tensor] = {}
        for group in self._groups:
            group.mark_(flags, state)
        parts, spread, gates = self._units.split(state), {}, {}
        for layer in self._filters:
            point, bits, read = layer.norm or layer.name, parts[layer.name], flags.get((layer.name, "out"))
            read = torch.ones_like(bits) if read is None else read
            own = read & bits
            if layer.name in self._whole or not own.any():
                gates[layer.name] = bits[read].to(device, torch.float32)
            elif not own.all():
                spread[point] = torch.where(own, own.cumsum(0) - 1, own.sum())[read].to(device)
                flags |= {(name, "out"): own for name in (layer.name, point)}
            if point in spread and len(spread[point]) == own.sum():
                del spread[point]
        opened = {name: parts[name][flags.get((name, "in"), slice(None))] for name in self._inputs}
        return Narrow(_places(flags, device), spread, gates, _places(opened, device))

    def forward(self, model: nn.Module, narrow: Narrow, x: Tensor) -> Tensor:
        """Run the network under one state, differentiable; in training mode norms of computed channels move."""
        statistics = _statistics(model, narrow.kept)
        with self._prepared(model, narrow):
            output = functional_call(model, self._parameters(model, narrow) | statistics, (_laid_out(x),))
        if model.training:
            _write_back_(model, narrow.kept, statistics)
        return output

    @torch.inference_mode()
    def candidate(self, model: nn.Module, narrow: Narrow, x: Tensor) -> Tensor:
        """Run the network under one state with norms by batch and without dropout, and change nothing."""
        norms = {name: module for name, module in model.named_modules() if isinstance(module, NORMS)}
        throwaway = {f"{name}.{part}": b.clone() for name, norm in norms.items() for part, b in norm.named_buffers()}
        overrides = throwaway | _statistics(model, narrow.kept) | self._parameters(model, narrow)
        with ExitStack() as stack:
            stack.enter_context(evaluating(model))
            for norm in norms.values():
                stack.enter_context(_attribute(norm, "training", True))
            stack.enter_context(self._prepared(model, narrow))
            return functional_call(model, overrides, (_laid_out(x),))

    def agrees(self, model: nn.Module, example: Tensor) -> bool:
        """Whether the narrow network's output equals the gated one's, for a state with every third unit shut."""
        state = torch.arange(self._units.size) % 3 > 0
        gates = {name: bits.to(example.device, torch.float32) for name, bits in self._units.split(state).items()}
        with torch.no_grad(), evaluating(model):
            expected = gated_forward(model, self._units, gates, example)
            try:
                found = self.forward(model, self.narrow(state, example.device), example)
            except RuntimeError:  # a width that is written into the forward pass
                return False
        return bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max().clamp(min=1))

    def _parameters(self, model: nn.Module, narrow: Narrow) -> dict[str, Tensor]:
        """Return the narrowed and gated parameters by name."""
        changed: dict[str, Tensor] = {}
        for name in dict.fromkeys([*(name for name, _ in narrow.kept), *self._inputs]):
            layer = model.get_submodule(name)
            rows, columns = narrow.kept.get((name, "out")), narrow.kept.get((name, "in"))
            if name in narrow.opened:
                columns = narrow.opened[name] if columns is None else columns[narrow.opened[name]]
            for part, parameter in layer.named_parameters(recurse=False):
                changed[f"{name}.{part}"] = _cut(parameter, rows, columns if part == "weight" else None)
        norms = {layer.norm: narrow.gates[layer.name] for layer in self._filters if layer.name in narrow.gates}
        for name in (f"{norm}.{part}" for norm in norms if norm is not None for part in ("weight", "bias")):
            value = changed.get(name, model.get_parameter(name))
            changed[name] = value * norms[name.rpartition(".")[0]].to(value.dtype)
        return changed

    @contextmanager
    def _prepared(self, model: nn.Module, narrow: Narrow) -> Iterator[None]:
        """Inside the block layers gather their inputs, spread their outputs and have as many groups as channels."""
        with ExitStack() as stack:
            for name, places in narrow.opened.items():
                gather = model.get_submodule(name).register_forward_pre_hook(partial(_gathered, places))
                stack.enter_context(hooked(gather))
            for name, places in narrow.spread.items():
                stack.enter_context(hooked(model.get_submodule(name).register_forward_hook(partial(_spread, places))))
            for layer in self._filters:
                if layer.name in narrow.gates and layer.norm is None:
                    gate = narrow.gates[layer.name]
                    stack.enter_context(multiplied(model.get_submodule(layer.name), "filters", gate))
            for (name, side), places in narrow.kept.items():
                module = model.get_submodule(name)
                if side == "out" and is_depthwise(module):
                    stack.enter_context(_attribute(module, "groups", len(places)))
            yield


class _Coupled:
    """One group of channels that only go together, and which units keep each of them."""

    def __init__(self, model: nn.Module, units: Units, group: Group) -> None:
        self._size, self._members = group.size, group.members
        gated = {layer.name: layer for layer in units.layers}
        self._widths = {m.name: width(model.get_submodule(m.name), m.side) for m in group.members}
        self._producers: list[tuple[Tensor, Tensor]] = []
        self._readers: list[tuple[Tensor, Tensor]] = []
        norms, own, read = set(), set(), True
        self.gated = True
        for member in group.members:
            layer, module = gated.get(member.name), model.get_submodule(member.name)
            if isinstance(module, NORMS):
                norms.add(member.name)
            elif member.side == "out" and isinstance(module, CONVS) and layer is not None:
                own.add(layer.norm)
                self._producers.append((units.numbers(layer.name)[member.channels], member.roots))
            elif member.side == "out":  # always on: a linear layer's outputs
                self.gated &= isinstance(module, nn.Linear)
                self._producers.append((torch.tensor([]), member.roots))
            elif layer is not None and layer.kind == "inputs":
                self._readers.append((units.numbers(layer.name)[member.channels], member.roots))
            else:
                read = False  # a convolution reads every channel
        if not read:
            self._readers = []
        self.gated &= norms <= own  # any other norm may turn zeros into something

    def mark_(self, flags: dict[tuple[str, Side], Tensor], state: Tensor) -> None:
        """Clear the flags of what a state (D,) shuts on every side of the group's layers; one channel always stays."""
        live = self._any(self._producers, state)
        if self._readers:
            live &= self._any(self._readers, state)
        live[0] |= not live.any()
        if live.all():
            return
        for member in self._members:
            key = (member.name, member.side)
            if key not in flags:
                flags[key] = torch.ones(self._widths[member.name], dtype=torch.bool)
            flags[key][member.channels[~live[member.roots]]] = False

    def _any(self, ends: list[tuple[Tensor, Tensor]], state: Tensor) -> Tensor:
        """Return which channels (size,) any of the ends has a unit on for; an end without units has all on."""
        live = torch.zeros(self._size, dtype=torch.bool)
        for numbers, roots in ends:
            live[roots[state[numbers]] if len(numbers) else roots] = True
        return live


def _cut(tensor: Tensor, rows: Tensor | None, columns: Tensor | None = None) -> Tensor:
    """Keep rows (axis 0) and columns (axis 1) of a tensor, all where None."""
    for axis, places in ((0, rows), (1, columns)):
        if places is not None:
            tensor = tensor.index_select(axis, places)
    return tensor


def _statistics(model: nn.Module, kept: Positions) -> dict[str, Tensor]:
    """Return the running statistics of the kept channels of every narrowed norm, as copies, by name."""
    found = {}
    for (name, _), places in kept.items():
        for part, buffer in model.get_submodule(name).named_buffers(recurse=False):
            if part in STATISTICS:
                found[f"{name}.{part}"] = buffer.index_select(0, places)
    return found


@torch.no_grad()
def _write_back_(model: nn.Module, kept: Positions, statistics: Mapping[str, Tensor]) -> None:
    for name, values in statistics.items():
        layer = name.rpartition(".")[0]
        model.get_buffer(name).index_copy_(0, kept[layer, "out"], values)


def _places(flags: Mapping[K, Tensor], device: torch.device) -> dict[K, Tensor]:
    return {key: found.nonzero().flatten().to(device) for key, found in flags.items()}


def _laid_out(x: Tensor) -> Tensor:
    """Return pictures with their channels last on a CPU, where narrow layers are faster that way."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 and x.device.type == "cpu" else x


def _gathered(places: Tensor, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
    return (args[0].index_select(-1, places) if len(places) < args[0].shape[-1] else args[0],)


def _spread(places: Tensor, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Put computed channels where they are read, zeros between them; from a matrix is the fast way on a CPU."""
    rows = functional.pad(output.movedim(1, -1), (0, 1))
    return rows.flatten(0, -2).index_select(1, places).unflatten(0, rows.shape[:-1]).movedim(-1, 1)


@contextmanager
def _attribute(module: nn.Module, name: str, value: object) -> Iterator[None]:
    """Set a module's attribute inside the block."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
