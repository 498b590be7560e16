"""How much of a network a state keeps, counted for many states at once, and states made to fit a budget.

"true": a weight is kept when its filter is on and read by some layer and its input channel carries anything (some
filter that feeds it is on); divided by all prunable weights, so it compares with the density of a weight mask.
"upstream": each layer's parameters (norm and bias included) times the share of its units that are on, over all
parameters; it ignores that an input channel whose filter is off goes too, and it is the R of the published tables.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.methods.ising.gates import CONVS, Units
from prunelib.methods.ising.sources import trace_wiring

Count = Literal["true", "upstream"]


class Kept:
    """Counts what states (S, D) keep of one network; see the module for the two ways to count."""

    def __init__(self, model: nn.Module, units: Units, example: Tensor, count: Count = "true") -> None:
        """Find out which channels feed which layers by forward passes over ``example``."""
        self.units, self.count = units, count
        wiring = trace_wiring(model, units, example)
        self._layers = [(name, model.get_submodule(name)) for name in wiring.layers]
        self._widths, self._heights = list(wiring.widths), [len(layer.weight) for _, layer in self._layers]
        # What opens each input and output channel: the number of a unit, or D for what is always open.
        self._own, self._outputs = self._gates("inputs", self._widths), self._gates("filters", self._heights)
        reads, feeds = wiring.edges.numpy()
        self._feeds = _links(reads, feeds, (sum(self._widths), wiring.outputs + 1))
        reads, feeds = reads[feeds < wiring.outputs], feeds[feeds < wiring.outputs]
        unread = np.setdiff1d(np.arange(wiring.outputs), feeds)  # outputs of the network
        gates = np.concatenate([self._own[reads], np.full(len(unread), units.size)])
        self._readers = _links(np.concatenate([feeds, unread]), gates, (wiring.outputs, units.size + 1))
        groups = [_groups(layer) for _, layer in self._layers]
        self._input_groups, self._output_groups = _sums(self._widths, groups), _sums(self._heights, groups)
        self._area = np.repeat([float(layer.weight[0, 0].numel()) for _, layer in self._layers], groups)
        self._layer_of = torch.repeat_interleave(torch.tensor([layer.size for layer in units.layers]))
        self._cost, self._fixed = _upstream_costs(model, units)
        self._totals = {
            "true": sum(layer.weight.numel() for _, layer in self._layers),
            "upstream": sum(parameter.numel() for parameter in model.parameters()),
        }
        self._largest = self._largest_unit() if count == "true" else float(self._cost.max())

    def kept(self, states: Tensor, count: Count | None = None) -> Tensor:
        """Return how many weights (or upstream's parameters) each state keeps: (S,) float64."""
        if (count or self.count) == "upstream":
            return states.double() @ self._cost + self._fixed
        inputs, outputs = self._live(states)
        return torch.from_numpy(self._area @ ((self._input_groups @ inputs) * (self._output_groups @ outputs)))

    def total(self, count: Count | None = None) -> int:
        """Number of prunable weights (or of all parameters, upstream)."""
        return self._totals[count or self.count]

    def fraction(self, states: Tensor, count: Count | None = None) -> Tensor:
        """Return kept / total per state: (S,) float64 in [0, 1]; ``count`` is the own way of counting by default."""
        return self.kept(states, count) / self.total(count)

    def mask(self, state: Tensor) -> Mask:
        """Return the weight mask one state (D,) stands for: filter on and input channel live, per prunable weight."""
        inputs, outputs = (torch.from_numpy(part[:, 0].copy()) for part in self._live(state[None]))
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
        nothing else. Raises MethodError when one unit per layer is too much.
        """
        keys = torch.rand(states.shape, generator=generator, dtype=torch.float64)
        guarded = self._guards(states, keys)
        states = states | guarded
        if density is None:
            return states
        budget = density * self.total()
        if (self.kept(guarded) > budget).any():
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
        low, high = torch.zeros(len(states), dtype=torch.long), torch.isfinite(keys).sum(dim=1) + 1
        last = high - 1
        for _ in range(int(high.max()).bit_length()):
            middle = (low + high) // 2
            flipped = states ^ (keys <= order.gather(1, torch.minimum(middle, last)[:, None]))
            crossed = ((self.kept(flipped) <= budget) == over) | (middle > last)
            low, high = torch.where(crossed, low, middle + 1), torch.where(crossed, middle, high)
            low = torch.minimum(low, high)
        return torch.where(over, high, high - 1)

    def _guards(self, states: Tensor, keys: Tensor) -> Tensor:
        """Choose one unit per layer and state that stays on: a random one among those that are on, if any is."""
        preference = keys + states
        index = self._layer_of.expand_as(states)
        none = torch.zeros(len(states), len(self.units.layers), dtype=keys.dtype)
        best = none.scatter_reduce(1, index, preference, "amax")
        return preference == best.gather(1, index)

    def _live(self, states: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return which input channels carry something and which outputs are on and read: (channels, S) booleans."""
        bits = np.ones((self.units.size + 1, len(states)), dtype=np.float32)
        bits[:-1] = states.numpy().T
        outputs = bits[self._outputs]
        carried = self._feeds @ np.concatenate([outputs, bits[-1:]]) > 0
        return carried & (bits[self._own] > 0), (outputs > 0) & (self._readers @ bits > 0)

    def _largest_unit(self) -> float:
        """Return the most weights that can come and go with one unit: its own and those that read or feed it."""
        sizes = [(layer.weight[0].numel(), _groups(layer), layer.weight[0, 0].numel()) for _, layer in self._layers]
        filters = np.repeat([float(size) for size, _, _ in sizes], self._heights)
        columns = [area * height / groups for (_, groups, area), height in zip(sizes, self._heights, strict=True)]
        inputs = np.repeat(columns, self._widths)
        return float(max((filters + self._feeds.T[:-1] @ inputs).max(), (inputs + self._feeds[:, :-1] @ filters).max()))

    def _gates(self, kind: str, sizes: list[int]) -> np.ndarray:
        """Return the number of the unit that gates each channel on one side of all layers, D where there is none."""
        gated = {layer.name for layer in self.units.layers if layer.kind == kind}
        pairs = zip(self._layers, sizes, strict=True)
        none = self.units.size
        return np.concatenate([self.units.numbers(n) if n in gated else np.full(s, none) for (n, _), s in pairs])


def states_readme(model: nn.Module, units: Units) -> int:
    """Return the number of states that the authors' README counts for a network (README of EDropout, its table).

    With norms each down-sampling filter counts twice, once by its convolution and once by its norm. Without norms the
    classes count too, and of a classifier that is a convolution its inputs, which are filters already counted.
    """
    if any(layer.norm is not None for layer in units.layers):
        return units.size + sum(layer.size for layer in units.layers if "downsample" in layer.name)
    last = [module for module in model.modules() if isinstance(module, (*CONVS, nn.Linear))][-1]
    return units.size + (last.out_features if isinstance(last, nn.Linear) else last.in_channels + last.out_channels)


def _links(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """Return the sparse matrix whose product with bits counts, per row, the columns that are set."""
    return csr_array((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)


def _sums(lengths: list[int], groups: list[int]) -> csr_array:
    """Return the sparse matrix that sums channels over each convolution group of all layers, float64."""
    parts = [length // count for length, count in zip(lengths, groups, strict=True) for _ in range(count)]
    rows = np.repeat(np.arange(len(parts)), parts)
    return csr_array((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(len(parts), len(rows)))


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
