"""How much of a network a state keeps, counted for many states at once, and states made to fit a budget.

"true": a weight is kept when its filter is on and read by some layer and its input channel carries anything (some
filter that feeds it is on); divided by all prunable weights, so it compares with the density of a weight mask.
"upstream": each layer's parameters (norm and bias included) times the share of its units that are on, over all
parameters; it ignores that an input channel whose filter is off goes too, and it is the R of the published tables.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.methods.ising.gates import Units
from prunelib.methods.ising.sources import trace_wiring

Count = Literal["true", "upstream"]


class Kept:
    """Counts what states (S, D) keep of one network; see the module for the two ways to count."""

    def __init__(self, model: nn.Module, units: Units, example: Tensor, count: Count = "true") -> None:
        """Find out which channels feed which layers by forward passes over ``example``."""
        self.units, self.count = units, count
        wiring = trace_wiring(model, units, example)
        self._layers = [(name, model.get_submodule(name)) for name in wiring.layers]
        self._widths = [len(wiring.sources[name]) for name in wiring.layers]
        self._heights = [len(layer.weight) for _, layer in self._layers]
        # Bit numbers of what opens each input and output channel: a unit, or D for those that are always open.
        self._own = self._gates("inputs", self._widths)
        self._outputs = self._gates("filters", self._heights)
        deepest = max(part.shape[1] for part in wiring.sources.values())
        padded = [_padded(wiring.sources[name], deepest, wiring.outputs + 1) for name in wiring.layers]
        self._sources = torch.cat(padded)
        self._readers = _readers(self._sources, self._own, wiring.outputs, units.size)
        groups = [_groups(layer) for _, layer in self._layers]
        self._input_group, self._output_group = _segments(self._widths, groups), _segments(self._heights, groups)
        area = torch.tensor([layer.weight[0, 0].numel() for _, layer in self._layers], dtype=torch.float64)
        self._area = area.repeat_interleave(torch.tensor(groups))
        self._layer_of = torch.repeat_interleave(torch.tensor([layer.size for layer in units.layers]))
        self._cost, self._fixed = _upstream_costs(model, units)
        self._totals = {
            "true": sum(layer.weight.numel() for _, layer in self._layers),
            "upstream": sum(parameter.numel() for parameter in model.parameters()),
        }

    def kept(self, states: Tensor, count: Count | None = None) -> Tensor:
        """Return how many weights (or upstream's parameters) each state keeps: (S,) float64."""
        if (count or self.count) == "upstream":
            return states.double() @ self._cost + self._fixed
        inputs, outputs = self._live(states)
        empty = torch.zeros(len(states), len(self._area), dtype=torch.float64)
        live = empty.index_add(1, self._input_group, inputs.double())
        return (live * empty.index_add(1, self._output_group, outputs.double())) @ self._area

    def total(self, count: Count | None = None) -> int:
        """Number of prunable weights (or of all parameters, upstream)."""
        return self._totals[count or self.count]

    def fraction(self, states: Tensor, count: Count | None = None) -> Tensor:
        """Return kept / total per state: (S,) float64 in [0, 1]; ``count`` is the own way of counting by default."""
        return self.kept(states, count) / self.total(count)

    def mask(self, state: Tensor) -> Mask:
        """Return the weight mask one state (D,) stands for: filter on and input channel live, per prunable weight."""
        inputs, outputs = (part[0] for part in self._live(state[None]))
        masks = {}
        parts = zip(self._layers, inputs.split(self._widths), outputs.split(self._heights), strict=True)
        for (name, layer), live, on in parts:
            shape, groups = layer.weight.shape, _groups(layer)
            pairs = on.reshape(groups, -1, 1) & live.reshape(groups, 1, -1)
            masks[f"{name}.weight"] = pairs.reshape(*shape[:2], *[1] * (len(shape) - 2)).expand(shape)
        return Mask(masks)

    def fit(self, states: Tensor, density: float | None, generator: torch.Generator) -> Tensor:
        """Flip as few random bits as it takes for each state to keep at most, and within one unit of, ``density``.

        Every layer keeps at least one unit. None asks for nothing else. Raises MethodError when a single unit per
        layer already keeps more.
        """
        keys = torch.rand(states.shape, generator=generator)
        guarded = self._guards(states, keys)
        states = states | guarded
        if density is None:
            return states
        budget = density * self.total()
        if (self.kept(guarded) > budget).any():
            least = float(self.fraction(guarded).max())
            raise MethodError(f"ising: density {density} can't be met; one unit per layer keeps {least:.4f} already.")
        over = self.kept(states) > budget
        free = torch.where(over[:, None], states & ~guarded, ~states)
        rank = torch.where(free, keys, 2.0).argsort(dim=1).argsort(dim=1)
        flips = self._fewest(states, free, rank, over, budget)
        return states ^ (free & (rank < flips[:, None]))

    def _fewest(self, states: Tensor, free: Tensor, rank: Tensor, over: Tensor, budget: float) -> Tensor:
        """Bisect, for all rows at once, how many free bits to flip in rank order to stand just below the budget."""
        low, high = torch.zeros(len(states), dtype=torch.long), free.sum(dim=1) + 1
        for _ in range(int(high.max()).bit_length()):
            middle = (low + high) // 2
            crossed = (self.kept(states ^ (free & (rank < middle[:, None]))) <= budget) == over
            low, high = torch.where(crossed, low, middle + 1), torch.where(crossed, middle, high)
            low = torch.minimum(low, high)
        return torch.where(over, high, high - 1)

    def _guards(self, states: Tensor, keys: Tensor) -> Tensor:
        """Choose one unit per layer and state that stays on: a random one among those that are on, if any is."""
        preference = keys + states
        index = self._layer_of.expand_as(states)
        best = torch.zeros(len(states), len(self.units.layers)).scatter_reduce(1, index, preference, "amax")
        return preference == best.gather(1, index)

    def _live(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return which input channels carry something and which outputs are on and read: (S, channels) booleans."""
        always = torch.ones(len(states), 1, dtype=torch.bool)
        bits = torch.cat([states, always, ~always], dim=1)
        open_outputs = bits[:, self._outputs]
        carried = torch.cat([open_outputs, always, ~always], dim=1)[:, self._sources].any(dim=2)
        return carried & bits[:, self._own], open_outputs & bits[:, self._readers].any(dim=2)

    def _gates(self, kind: str, sizes: list[int]) -> Tensor:
        """Return the number of the unit that gates each channel on one side of all layers, D where there is none."""
        gated = {layer.name for layer in self.units.layers if layer.kind == kind}
        pairs = zip(self._layers, sizes, strict=True)
        none = self.units.size
        return torch.cat([self.units.numbers(n) if n in gated else torch.full((s,), none) for (n, _), s in pairs])


def _padded(numbers: Tensor, width: int, filler: int) -> Tensor:
    return nn.functional.pad(numbers, (0, width - numbers.shape[1]), value=filler)


def _readers(sources: Tensor, own: Tensor, outputs: int, always: int) -> Tensor:
    """Return the gates in front of each output channel's readers: (outputs, most) bit numbers, D + 1 in unused places.

    A channel with an ungated reader, or with none (it is an output of the network), has the one entry D.
    """
    channel, gate = sources.flatten(), own.repeat_interleave(sources.shape[1])
    pairs = torch.stack([channel, gate], dim=1)[channel < outputs].unique(dim=0)
    opened = torch.ones(outputs, dtype=torch.bool)
    opened[pairs[:, 0]] = False
    opened[pairs[pairs[:, 1] == always, 0]] = True
    pairs = pairs[~opened[pairs[:, 0]]]
    place = torch.arange(len(pairs)) - torch.searchsorted(pairs[:, 0].contiguous(), pairs[:, 0].contiguous())
    readers = torch.full((outputs, int(place.max()) + 1 if len(place) else 1), always + 1)
    readers[pairs[:, 0], place] = pairs[:, 1]
    readers[opened, 0] = always
    return readers


def _groups(layer: nn.Module) -> int:
    return getattr(layer, "groups", 1)


def _segments(lengths: list[int], groups: list[int]) -> Tensor:
    """Number the convolution groups of all layers through, and name the group of each channel."""
    parts, start = [], 0
    for length, count in zip(lengths, groups, strict=True):
        parts.append(start + torch.arange(count).repeat_interleave(length // count))
        start += count
    return torch.cat(parts)


def _upstream_costs(model: nn.Module, units: Units) -> tuple[Tensor, int]:
    """Return every unit's share of its layer's parameters (D,) and the number of parameters no unit owns."""
    costs, owned = [], 0
    for layer in units.layers:
        modules = [model.get_submodule(name) for name in (layer.name, layer.norm) if name is not None]
        size = sum(parameter.numel() for module in modules for parameter in module.parameters())
        costs.append(torch.full((layer.size,), size / layer.size, dtype=torch.float64))
        owned += size
    return torch.cat(costs), sum(parameter.numel() for parameter in model.parameters()) - owned
