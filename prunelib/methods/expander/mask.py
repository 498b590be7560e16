"""Expander masks: each layer keeps the k×k kernels along the edges of a random bipartite graph of its channels.

No data and no weights are looked at. Convolutions and linear layers are sparse, the classifier stays dense. Every mask
comes with one row of graph diagnostics per sparse layer (see ``spectra.describe``).
Source: Stewart, Michieli, Ozay, "Data-Free Model Pruning at Initialization via Expanders", CVPR-W 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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

    The larger side of a layer has the given degree. ``candidates``: graphs drawn per layer, the best expander is kept;
    ``dense_first``: leave the first layer dense (the ResNets of the paper); ``shortcuts``: also prune 1×1 shortcuts.
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


def _find(family: str, task: Task, budget: Budget, candidates: int, dense_first: bool, shortcuts: bool) -> Found:
    model = task.build()
    weights = prunable(model)
    dense = _dense_layers(list(weights), task.kind, dense_first, shortcuts)
    if len(dense) == len(weights):
        raise MethodError(f"{family}: all {len(weights)} layers of this network stay dense; nothing is left to prune.")
    density = _sparse_density(weights, dense, budget["value"]) if budget["kind"] == "density" else None
    tensors, rows = {}, []
    for index, (name, weight) in enumerate(weights.items()):
        if name in dense:
            tensors[name] = torch.ones_like(weight, dtype=torch.bool)
            continue
        module = model.get_submodule(name.rpartition(".")[0])
        blocks = _draw_blocks(family, name, module, task.seed, candidates, budget["value"], density)
        tensors[name] = _kernels(blocks, module)
        graph = sparse.csr_array(sparse.block_diag(blocks))
        rows.append({"layer": index, **describe(graph, numpy_generator(task.seed, "diagnose", name))})
    return Mask(tensors), {column: [float(row[column]) for row in rows] for column in rows[0]}


def _dense_layers(names: list[str], kind: str, dense_first: bool, shortcuts: bool) -> set[str]:
    """Return the layers that are not pruned: the classifier and, on demand, the first layer and the shortcuts."""
    dense = {names[-1]} if kind == "classify" else set()
    if dense_first:
        dense.add(names[0])
    if not shortcuts:
        dense.update(name for name in names if SHORTCUTS & set(name.split(".")))
    return dense


def _sparse_density(weights: Mapping[str, nn.Parameter], dense: set[str], density: float) -> float:
    """Return the density of every sparse layer that makes kept / prunable the given density over all layers."""
    size = sum(weight.numel() for weight in weights.values())
    fixed = sum(weights[name].numel() for name in dense)
    if density * size <= fixed:
        raise MethodError(
            f"density {density:g} is below what the layers that stay dense take alone ({fixed} of {size} weights); "
            f"allowed: above {fixed / size:.4g}."
        )
    return (density * size - fixed) / (size - fixed)


def _draw_blocks(
    family: str, name: str, module: nn.Module, seed: int, candidates: int, degree: float, density: float | None
) -> list[sparse.csr_array]:
    """Draw the graphs of one layer, one per group of a grouped convolution; ``density`` wins over ``degree``."""
    groups = getattr(module, "groups", 1)
    linear = isinstance(module, nn.Linear)
    n_in = (module.in_features if linear else module.in_channels) // groups
    n_out = (module.out_features if linear else module.out_channels) // groups
    if density is None:
        edges = graphs.stubs(family, n_in, n_out, degree, name)
    else:
        edges = max(round(density * n_in * n_out), 1)
    streams = [name] if groups == 1 else [f"{name}/{group}" for group in range(groups)]
    return [graphs.draw(family, n_in, n_out, edges, seed, stream, candidates) for stream in streams]


def _kernels(blocks: list[sparse.csr_array], module: nn.Module) -> torch.Tensor:
    """Lay the graphs out like the layer's weight: (out, in / groups, ...), or (in, out / groups, ...) if transposed."""
    transposed = getattr(module, "transposed", False)
    pairs: NDArray[np.bool_] = np.concatenate([(block if transposed else block.T).toarray() for block in blocks])
    kept = torch.from_numpy(pairs)
    shape = module.weight.shape
    return kept.reshape(*kept.shape, *[1] * (len(shape) - 2)).expand(shape).contiguous()


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
