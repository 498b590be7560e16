"""The layers of a network as the sides of bipartite graphs: which are masked, and masks and graphs as one another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import torch
from scipy import sparse
from torch import nn

from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.tasks.base import prunable

SHORTCUTS = {"downsample", "shortcut"}  # what residual networks call the module of their 1×1 shortcut
KINDS = (":conv", ":linear", ":depthwise", ":pointwise")  # what a pattern may ask for besides a name

Graphs = Mapping[str, sparse.csr_array]


@dataclass(frozen=True)
class Layer:
    """The channels of one layer: a graph of n_in × n_out vertices per group, a kernel of these sides per edge."""

    n_in: int
    n_out: int
    groups: int = 1
    sides: tuple[int, ...] = ()
    transposed: bool = False

    @classmethod
    def of(cls, module: nn.Module) -> Layer:
        """Read a convolution or a linear layer."""
        if isinstance(module, nn.Linear):
            return cls(module.in_features, module.out_features)
        groups = module.groups
        inputs, outputs = module.in_channels // groups, module.out_channels // groups
        return cls(inputs, outputs, groups, tuple(module.kernel_size), module.transposed)

    @property
    def pairs(self) -> int:
        """Return how many edges the graph of one group can have."""
        return self.n_in * self.n_out

    @property
    def kernel(self) -> int:
        """Return how many weights an edge has."""
        return math.prod(self.sides)

    @property
    def size(self) -> int:
        """Return how many weights the layer has."""
        return self.pairs * self.groups * self.kernel

    @property
    def erk(self) -> int:
        """Return what a group's weights are proportional to by Erdos-Renyi-Kernel: all sides, channels and kernel.

        A layer's density is min(1, eps * erk / (n_in * n_out * kernel)), eps common to all layers.
        Source: Evci et al., Rigging the Lottery (ICML 2020).
        """
        return self.n_in + self.n_out + sum(self.sides)

    def kernels(self, graph: sparse.csr_array) -> torch.Tensor:
        """Lay a graph out like the weight: (out, in / groups, ...), or (in, out / groups, ...) if transposed."""
        whole = graph.toarray().reshape(self.groups, self.n_in, self.groups, self.n_out)
        blocks = np.stack([whole[group, :, group] for group in range(self.groups)])
        pairs = torch.from_numpy(blocks if self.transposed else blocks.swapaxes(1, 2)).flatten(0, 1)
        return pairs.reshape(*pairs.shape, *[1] * len(self.sides)).expand(*pairs.shape, *self.sides).contiguous()

    def graph(self, kept: torch.Tensor) -> sparse.csr_array:
        """Count the kept weights of every kernel of a mask: int64, (inputs, outputs) of the whole layer."""
        counts = kept.flatten(2).sum(2) if kept.ndim > 2 else kept.long()
        blocks = counts.reshape(self.groups, -1, counts.shape[1])
        sides = [sparse.csr_array((block if self.transposed else block.T).numpy()) for block in blocks]
        return sparse.csr_array(sparse.block_diag(sides, dtype=np.int64))


def modules_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the convolutions and linear layers by the name of their weight, in definition order."""
    return {name: model.get_submodule(name.rpartition(".")[0]) for name in prunable(model)}


def masked_layers(
    model: nn.Module,
    classifier: bool,
    dense_first: bool = False,
    shortcuts: bool = True,
    only: Sequence[str] | None = None,
    dense: Sequence[str] | None = None,
) -> dict[str, Layer]:
    """Return the layers that get a graph, by the name of their weight; the others stay dense.

    ``classifier``: the last layer is one and stays dense; ``dense_first``: so does the first; ``shortcuts`` False: so
    do the 1×1 shortcuts of residual networks. ``only`` and ``dense`` are patterns: the name of a layer, with * and ?
    (such as "blocks.*.attn.*"), or one of ":conv", ":linear", ":depthwise", ":pointwise". A layer is masked when it
    fits one of ``only`` (or there are none) and none of ``dense``. Raises MethodError for a pattern that fits no layer,
    and when nothing is left to mask.
    """
    modules = modules_of(model)
    names = list(modules)
    for pattern in (*(only or ()), *(dense or ())):
        if not any(_fits(pattern, name, modules[name]) for name in names):
            raise MethodError(
                f"layer pattern '{pattern}' fits none of the {len(names)} layers of this network. Allowed: "
                f"{', '.join(KINDS)}, or the name of a layer, with * and ?, such as {names[0].rpartition('.')[0]!r}."
            )
    stay = {names[-1]} if classifier else set()
    stay.update(names[:1] if dense_first else ())
    chosen = {
        name: Layer.of(module)
        for name, module in modules.items()
        if name not in stay
        and (shortcuts or not SHORTCUTS & set(name.split(".")))
        and (only is None or _any(only, name, module))
        and not _any(dense or (), name, module)
    }
    if not chosen:
        raise MethodError(f"all {len(names)} layers of this network stay dense; nothing is left to prune.")
    return chosen


def _any(patterns: Iterable[str], name: str, module: nn.Module) -> bool:
    return any(_fits(pattern, name, module) for pattern in patterns)


def _fits(pattern: str, name: str, module: nn.Module) -> bool:
    if not pattern.startswith(":"):
        return fnmatchcase(name.rpartition(".")[0], pattern)
    if isinstance(module, nn.Linear):
        return pattern == ":linear"
    depthwise = module.groups > 1 and module.groups == module.in_channels
    pointwise = set(module.kernel_size) == {1}
    return pattern == ":conv" or (pattern == ":depthwise" and depthwise) or (pattern == ":pointwise" and pointwise)


def graphs_of(mask: Mask, model: nn.Module) -> dict[str, sparse.csr_array]:
    """Return every masked layer as a graph (inputs, outputs), groups as diagonal blocks; entries count kept weights.

    Masked tensors that are no weight of a convolution or linear layer (biases, norms) are left out.
    """
    modules = modules_of(model)
    return {name: Layer.of(modules[name]).graph(kept) for name, kept in mask.items() if name in modules}


def mask_of(graphs: Graphs, model: nn.Module) -> Mask:
    """Return the mask that keeps the whole kernels along the edges; layers without a graph stay dense.

    Raises MethodError for a graph of a layer that the network does not have, or of other sides.
    """
    modules, weights = modules_of(model), prunable(model)
    for name, graph in graphs.items():
        layer = Layer.of(modules[name]) if name in modules else None
        sides = (layer.n_in * layer.groups, layer.n_out * layer.groups) if layer else "no such layer"
        if graph.shape != sides:
            raise MethodError(f"graph of '{name}' {graph.shape} does not fit the model ({sides}).")
    return Mask(
        {
            name: Layer.of(modules[name]).kernels(graphs[name] != 0)
            if name in graphs
            else torch.ones(weight.shape, dtype=torch.bool)
            for name, weight in weights.items()
        }
    )
