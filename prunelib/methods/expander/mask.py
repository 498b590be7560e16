"""Expander masks: each layer keeps the k×k kernels along the edges of a random bipartite graph of its channels.

No data and no weights are looked at. Convolutions and linear layers are sparse, the classifier stays dense. Every mask
comes with one row of graph diagnostics per sparse layer (see ``spectra.describe``).
Source: Stewart, Michieli, Ozay, "Data-Free Model Pruning at Initialization via Expanders", CVPR-W 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import nn

from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.methods.expander import graphs
from prunelib.methods.expander.spectra import describe
from prunelib.options import Count
from prunelib.registry import register
from prunelib.seeds import numpy_generator
from prunelib.tasks.base import Task, prunable

SHORTCUTS = {"downsample", "shortcut"}  # what residual networks call the module of their 1×1 shortcut

Budget = Mapping[str, Any]
Found = tuple[Mask, dict[str, list[float]]]


@register("method", "rreg", stage="mask", parent="none", budgets=("degree", "density"))
def rreg(
    task: Task,
    budget: Budget,
    generator: torch.Generator,
    *,
    candidates: Count = 1,
    dense_first: bool = False,
    shortcuts: bool = True,
) -> Found:
    """Keep kernels along random biregular graphs: every channel has as many neighbours as any other on its side.

    The larger side of a layer has the given degree; a density is met by the common degree that keeps as many weights.
    ``candidates``: graphs drawn per layer, the best expander is kept; ``dense_first``: leave the first layer dense (the
    paper's ResNets do); ``shortcuts``: prune the 1×1 shortcuts of residual networks too.
    Raises MethodError for an impossible degree or density. ``generator`` is not used: every layer has its own stream.
    """
    return _find("rreg", task, budget, candidates, dense_first, shortcuts)


@register("method", "rreg_merge", stage="mask", parent="none", budgets=("degree",))
def rreg_merge(
    task: Task,
    budget: Budget,
    generator: torch.Generator,
    *,
    candidates: Count = 100,
    dense_first: bool = False,
    shortcuts: bool = True,
) -> Found:
    """Keep kernels along the authors' graphs: stubs matched at random, parallel edges merged, best of 100.

    Options as in rreg.
    """
    return _find("rreg_merge", task, budget, candidates, dense_first, shortcuts)


@register("method", "xnet", stage="mask", parent="none", budgets=("degree", "density"))
def xnet(
    task: Task,
    budget: Budget,
    generator: torch.Generator,
    *,
    candidates: Count = 1,
    dense_first: bool = False,
    shortcuts: bool = True,
) -> Found:
    """Keep kernels along left-regular graphs: every input channel feeds the given number of outputs.

    Options as in rreg.
    """
    return _find("xnet", task, budget, candidates, dense_first, shortcuts)


@register("method", "random_graph", stage="mask", parent="none", budgets=("degree", "density"))
def random_graph(
    task: Task,
    budget: Budget,
    generator: torch.Generator,
    *,
    candidates: Count = 1,
    dense_first: bool = False,
    shortcuts: bool = True,
) -> Found:
    """Keep every kernel independently with the same probability: inputs have the given mean degree.

    Options as in rreg.
    """
    return _find("random", task, budget, candidates, dense_first, shortcuts)


@dataclass(frozen=True)
class Layer:
    """The channels of one sparse layer: a graph of n_in × n_out vertices per group, ``kernel`` weights per edge."""

    n_in: int
    n_out: int
    groups: int
    kernel: int

    @classmethod
    def of(cls, module: nn.Module) -> Layer:
        """Read a convolution or a linear layer."""
        if isinstance(module, nn.Linear):
            return cls(module.in_features, module.out_features, 1, 1)
        groups = module.groups
        return cls(module.in_channels // groups, module.out_channels // groups, groups, module.weight[0, 0].numel())

    def kept(self, family: str, degree: float) -> int:
        """Return how many weights a graph of this degree keeps (its mean, where the family's edge count is random)."""
        edges = min(graphs.stubs(family, self.n_in, self.n_out, degree), self.n_in * self.n_out)
        return edges * self.groups * self.kernel

    def draw(self, family: str, degree: float, seed: int, name: str, candidates: int) -> list[sparse.csr_array]:
        """Draw one graph per group, each from its own stream."""
        streams = [name] if self.groups == 1 else [f"{name}/{group}" for group in range(self.groups)]
        return [graphs.sample(family, self.n_in, self.n_out, degree, seed, at, candidates) for at in streams]


def _find(family: str, task: Task, budget: Budget, candidates: int, dense_first: bool, shortcuts: bool) -> Found:
    model = task.build()
    weights = prunable(model)
    dense = _dense_layers(list(weights), task.kind, dense_first, shortcuts)
    modules = {name: model.get_submodule(name.rpartition(".")[0]) for name in weights if name not in dense}
    if not modules:
        raise MethodError(f"{family}: all {len(weights)} layers of this network stay dense; nothing is left to prune.")
    layers = {name: Layer.of(module) for name, module in modules.items()}
    degree = budget["value"]
    if budget["kind"] == "density":
        size = sum(weight.numel() for weight in weights.values())
        fixed = sum(weights[name].numel() for name in dense)
        degree = _degree_for(degree, family, list(layers.values()), size, fixed)
    tensors, rows = {}, []
    for index, (name, weight) in enumerate(weights.items()):
        if name in dense:
            tensors[name] = torch.ones_like(weight, dtype=torch.bool)
            continue
        drawn = layers[name].draw(family, degree, task.seed, name, candidates)
        tensors[name] = _kernels(drawn, modules[name])
        whole = sparse.csr_array(sparse.block_diag(drawn))
        rows.append({"layer": index, **describe(whole, numpy_generator(task.seed, "diagnose", name))})
    return Mask(tensors), {column: [float(row[column]) for row in rows] for column in rows[0]}


def _dense_layers(names: list[str], kind: str, dense_first: bool, shortcuts: bool) -> set[str]:
    """Return the layers that are not pruned: the classifier and, on demand, the first layer and the shortcuts."""
    dense = {names[-1]} if kind == "classify" else set()
    if dense_first:
        dense.add(names[0])
    if not shortcuts:
        dense.update(name for name in names if SHORTCUTS & set(name.split(".")))
    return dense


def _degree_for(density: float, family: str, layers: list[Layer], size: int, fixed: int) -> float:
    """Return the largest common degree that keeps at most density * size weights, ``fixed`` dense ones included.

    The degree may be fractional: then the degrees of a layer's vertices differ by one. Raises MethodError when even one
    edge per layer is too much.
    """

    def fits(degree: float) -> bool:
        return fixed + sum(layer.kept(family, degree) for layer in layers) <= int(density * size)

    low, high = 1e-9, float(max(max(layer.n_in, layer.n_out) for layer in layers))
    if not fits(low):
        least = fixed + sum(layer.kept(family, low) for layer in layers)
        raise MethodError(
            f"{family}: density {density:g} is too small; the dense layers and one kernel in each of the other layers "
            f"take {least} of {size} weights. Allowed: {least / size:.4g} or more."
        )
    if fits(high):
        return high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _kernels(blocks: list[sparse.csr_array], module: nn.Module) -> torch.Tensor:
    """Lay the graphs out like the layer's weight: (out, in / groups, ...), or (in, out / groups, ...) if transposed."""
    transposed = getattr(module, "transposed", False)
    pairs = np.concatenate([(block if transposed else block.T).toarray() for block in blocks])
    shape = module.weight.shape
    return torch.from_numpy(pairs).reshape(*pairs.shape, *[1] * (len(shape) - 2)).expand(shape).contiguous()


def diagnose(mask: Mask, seed: int = 0) -> list[dict[str, Any]]:
    """Return one row of graph measures per layer of any method's mask; an edge is a kernel with a kept weight.

    A grouped convolution is seen through its weight's shape, (out, in / groups). Tensors with one axis are left out.
    """
    rows = []
    for name, tensor in mask.items():
        if tensor.ndim >= 2:
            graph = sparse.csr_array(tensor.flatten(2).any(dim=2).numpy().T if tensor.ndim > 2 else tensor.numpy().T)
            rows.append({"layer": name, **describe(graph, numpy_generator(seed, "diagnose", name))})
    return rows
