"""How much of a network a state keeps, counted for many states at once, and states made to fit a budget.

"true": a weight is kept when its filter is on and read by some layer and its input channel carries anything (some
filter that feeds it is on); divided by all prunable weights, so it compares with the density of a weight mask.
"upstream": each layer's parameters (norm and bias included) times the share of its units that are on, over all
parameters; it ignores that an input channel whose filter is off goes too, and it is the R of the published tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.methods.ising.evolution import sent
from prunelib.methods.ising.gates import CONVS, Units
from prunelib.methods.ising.sources import Wiring, trace_wiring

Count = Literal["true", "upstream"]


@dataclass(frozen=True)
class _Tables:
    """Who opens and feeds what, as numbers on one device; unit number D stands for what is always open.

    ``inputs`` (I,) and ``outputs`` (O,) are the units of all layers' channels; ``feeds`` (2, E) the pairs (input
    channel, output channel or O: always there); ``readers`` (2, F) the pairs (output channel, unit that reads it);
    ``input_groups`` and ``output_groups`` the convolution group of each channel, ``area`` (G,) its weights per pair of
    channels; ``layer`` (D,) the layer of each unit, ``cost`` (D,) its share of that layer's parameters.
    """

    inputs: Tensor
    outputs: Tensor
    feeds: Tensor
    readers: Tensor
    input_groups: Tensor
    output_groups: Tensor
    area: Tensor
    layer: Tensor
    cost: Tensor

    def to(self, device: torch.device) -> _Tables:
        """Return the same tables on another device."""
        return _Tables(**{name: tensor.to(device) for name, tensor in vars(self).items()})

    def live(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return which input channels carry something and which outputs are on and read: (channels, S) booleans."""
        bits = nn.functional.pad(states.T.float(), (0, 0, 0, 1), value=1.0)
        outputs = bits[self.outputs]
        carried = _gathered(self.feeds, nn.functional.pad(outputs, (0, 0, 0, 1), value=1.0), len(self.inputs))
        read = _gathered(self.readers, bits, len(self.outputs))
        return (carried * bits[self.inputs]) > 0, (outputs * read) > 0


class Kept:
    """Counts what states (S, D) keep of one network, on the states' device, in the two ways the module describes."""

    def __init__(self, model: nn.Module, units: Units, example: Tensor, count: Count = "true") -> None:
        """Find out which channels feed which layers by forward passes over ``example``."""
        self.units, self.count = units, count
        wiring = trace_wiring(model, units, example)
        self._layers = [(name, model.get_submodule(name)) for name in wiring.layers]
        self._widths, self._heights = list(wiring.widths), [len(layer.weight) for _, layer in self._layers]
        cost, self._fixed = _upstream_costs(model, units)
        self._tables = {torch.device("cpu"): self._cpu_tables(wiring, cost)}
        self._totals = {
            "true": sum(layer.weight.numel() for _, layer in self._layers),
            "upstream": sum(parameter.numel() for parameter in model.parameters()),
        }
        self._largest = self._largest_unit() if count == "true" else float(cost.max())

    def _cpu_tables(self, wiring: Wiring, cost: Tensor) -> _Tables:
        groups = [_groups(layer) for _, layer in self._layers]
        areas = [float(layer.weight[0, 0].numel()) for _, layer in self._layers]
        own, outputs = self._gates("inputs", self._widths), self._gates("filters", self._heights)
        reads, feeds = wiring.edges
        inner = feeds < wiring.outputs
        unread = torch.ones(wiring.outputs, dtype=torch.bool).index_fill(0, feeds[inner], False).nonzero().flatten()
        always = torch.full_like(unread, self.units.size)  # outputs of the network
        sizes = torch.tensor([layer.size for layer in self.units.layers])
        return _Tables(
            inputs=own,
            outputs=outputs,
            feeds=wiring.edges,
            readers=torch.stack([torch.cat([feeds[inner], unread]), torch.cat([own[reads[inner]], always])]),
            input_groups=_numbered(self._widths, groups),
            output_groups=_numbered(self._heights, groups),
            area=torch.repeat_interleave(torch.tensor(areas, dtype=torch.float64), torch.tensor(groups)),
            layer=torch.repeat_interleave(sizes),
            cost=cost,
        )

    def _on(self, device: torch.device) -> _Tables:
        """Return the tables on a device; the first time they are copied there."""
        if device not in self._tables:
            self._tables[device] = self._tables[torch.device("cpu")].to(device)
        return self._tables[device]

    def kept(self, states: Tensor, count: Count | None = None) -> Tensor:
        """Return how many weights (or upstream's parameters) each state keeps: (S,) float64."""
        tables = self._on(states.device)
        if (count or self.count) == "upstream":
            return states.double() @ tables.cost + self._fixed
        inputs, outputs = tables.live(states)
        blank = torch.zeros(len(tables.area), len(states), dtype=torch.float64, device=states.device)
        ins = blank.index_add(0, tables.input_groups, inputs.double())
        outs = blank.index_add(0, tables.output_groups, outputs.double())
        return tables.area @ (ins * outs)

    def total(self, count: Count | None = None) -> int:
        """Number of prunable weights (or of all parameters, upstream)."""
        return self._totals[count or self.count]

    def fraction(self, states: Tensor, count: Count | None = None) -> Tensor:
        """Return kept / total per state: (S,) float64 in [0, 1]; ``count`` is the own way of counting by default."""
        return self.kept(states, count) / self.total(count)

    def mask(self, state: Tensor) -> Mask:
        """Return the weight mask one state (D,) stands for: filter on and input channel live, per prunable weight."""
        inputs, outputs = (part[:, 0] for part in self._on(state.device).live(state[None]))
        masks = {}
        parts = zip(self._layers, inputs.split(self._widths), outputs.split(self._heights), strict=True)
        for (name, layer), live, on in parts:
            shape, groups = layer.weight.shape, _groups(layer)
            pairs = on.reshape(groups, -1, 1) & live.reshape(groups, 1, -1)
            masks[f"{name}.weight"] = pairs.reshape(*shape[:2], *[1] * (len(shape) - 2)).expand(shape)
        return Mask(masks)

    def fit(self, states: Tensor, density: float | None, generator: torch.Generator, *, tight: bool = False) -> Tensor:
        """Flip as few random bits as it takes for each state to keep at most ``density``, and hardly less.

        A state that keeps too much loses units until it fits; one that lacks more than the weights of the largest unit
        gains units while they fit; every other is left alone, so that states which agree stay the same. ``tight`` lets
        those gain units too, until a random one does not fit. Every layer keeps at least one unit; None asks for
        nothing else. Raises MethodError when one unit per layer is too much (on a CPU: the question would make another
        device wait, and every search ends with a state that is made to fit there).
        """
        keys = sent(torch.rand(states.shape, generator=generator, dtype=torch.float64), states.device)
        guarded = self._guards(states, keys)
        states = states | guarded
        if density is None:
            return states
        budget = density * self.total()
        if states.device.type == "cpu" and (self.kept(guarded) > budget).any():
            least = float(self.fraction(guarded).max())
            raise MethodError(f"ising: density {density} can't be met; one unit per layer keeps {least:.4f} already.")
        kept = self.kept(states)
        over, settled = kept > budget, (kept <= budget) & (budget - kept < self._largest) & (not tight)
        fixed = torch.where(over[:, None], ~states | guarded, states) | settled[:, None]
        keys = keys.masked_fill(fixed, torch.inf)
        order = nn.functional.pad(keys.sort(dim=1).values, (1, 0), value=-1.0)
        flips = self._fewest(states, keys, order, over, budget)
        return states ^ (keys <= order.gather(1, flips[:, None]))

    def _fewest(self, states: Tensor, keys: Tensor, order: Tensor, over: Tensor, budget: float) -> Tensor:
        """Bisect, for all rows at once, how many free bits to flip in order of their keys to stand below the budget."""
        high = torch.isfinite(keys).sum(dim=1) + 1
        low, last = torch.zeros_like(high), high - 1
        most = int(high.max()) if states.device.type == "cpu" else states.shape[1] + 1  # no more rounds than it takes
        for _ in range(most.bit_length()):
            middle = (low + high) // 2
            flipped = states ^ (keys <= order.gather(1, torch.minimum(middle, last)[:, None]))
            crossed = ((self.kept(flipped) <= budget) == over) | (middle > last)
            low, high = torch.where(crossed, low, middle + 1), torch.where(crossed, middle, high)
            low = torch.minimum(low, high)
        return torch.where(over, high, high - 1)

    def _guards(self, states: Tensor, keys: Tensor) -> Tensor:
        """Choose one unit per layer and state that stays on: a random one among those that are on, if any is."""
        preference = keys + states
        index = self._on(states.device).layer.expand_as(states)
        none = keys.new_zeros(len(states), len(self.units.layers))
        best = none.scatter_reduce(1, index, preference, "amax")
        return preference == best.gather(1, index)

    def _largest_unit(self) -> float:
        """Return the most weights that can come and go with one unit: its own and those that read or feed it."""
        tables = self._on(torch.device("cpu"))
        layers = [layer for _, layer in self._layers]
        areas = torch.tensor([layer.weight[0, 0].numel() / _groups(layer) for layer in layers], dtype=torch.float64)
        heights, widths = torch.tensor(self._heights), torch.tensor(self._widths)
        filters = torch.repeat_interleave(areas * widths, heights)
        inputs = torch.repeat_interleave(areas * heights, widths)
        inner = tables.feeds[:, tables.feeds[1] < len(filters)]
        fed = _gathered(inner.flip(0), inputs, len(filters))
        feeding = _gathered(inner, filters, len(inputs))
        return float(max((filters + fed).max(), (inputs + feeding).max()))

    def _gates(self, kind: str, sizes: list[int]) -> Tensor:
        """Return the number of the unit that gates each channel on one side of all layers, D where there is none."""
        gated = {layer.name for layer in self.units.layers if layer.kind == kind}
        pairs = zip(self._layers, sizes, strict=True)
        none = self.units.size
        return torch.cat([self.units.numbers(n) if n in gated else torch.full((s,), none) for (n, _), s in pairs])


def states_readme(model: nn.Module, units: Units) -> int:
    """Return the number of states that the authors' README counts for a network (README of EDropout, its table).

    With norms each down-sampling filter counts twice, once by its convolution and once by its norm. Without norms the
    classes count too, and of a classifier that is a convolution its inputs, which are filters already counted.
    """
    if any(layer.norm is not None for layer in units.layers):
        return units.size + sum(layer.size for layer in units.layers if "downsample" in layer.name)
    last = [module for module in model.modules() if isinstance(module, (*CONVS, nn.Linear))][-1]
    return units.size + (last.out_features if isinstance(last, nn.Linear) else last.in_channels + last.out_channels)


def _gathered(pairs: Tensor, values: Tensor, size: int) -> Tensor:
    """Return, per row number, the sum of the values its pairs (row, place) point to: exact, these are small counts."""
    rows, places = pairs
    return values.new_zeros(size, *values.shape[1:]).index_add(0, rows, values[places])


def _numbered(lengths: list[int], groups: list[int]) -> Tensor:
    """Return the number of each channel's convolution group, counted through over all layers."""
    parts = [length // count for length, count in zip(lengths, groups, strict=True) for _ in range(count)]
    return torch.repeat_interleave(torch.tensor(parts))


def _groups(layer: nn.Module) -> int:
    return getattr(layer, "groups", 1)


def _upstream_costs(model: nn.Module, units: Units) -> tuple[Tensor, int]:
    """Return every unit's share of its layer's parameters (D,) and the number of parameters no unit owns."""
    costs, owned = [], 0
    for layer in units.layers:
        modules = [model.get_submodule(name) for name in (layer.name, layer.norm) if name is not None]
        size = sum(parameter.numel() for module in modules for parameter in module.parameters())
        costs.append(torch.full((layer.size,), size / layer.size, dtype=torch.float64))
        owned += size
    return torch.cat(costs), sum(parameter.numel() for parameter in model.parameters()) - owned
