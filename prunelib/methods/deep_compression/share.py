"""Stage 2 of Deep Compression: the weights of a layer share a few values; training moves those, not who has which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from prunelib.errors import MethodError
from prunelib.options import Bits, Word
from prunelib.registry import register
from prunelib.tasks.base import prunable


@dataclass(frozen=True)
class Shared:
    """The weights of one layer: which are kept (boolean, the weight's shape), and which value each kept one has.

    ``codes`` (n,) uint8 number the values of ``codebook`` (k,) float32, in the order in which kept weights lie in the
    tensor.
    """

    kept: Tensor
    codes: Tensor
    codebook: Tensor

    def weight(self) -> Tensor:
        """Return the weights, pruned ones zero."""
        values = self.codebook[self.codes.long()]
        return torch.zeros(self.kept.shape).masked_scatter(self.kept, values)


@register(
    "method",
    "deep_compression",
    stage="compress",
    parent="of",
    start="parent",
    budgets=("density", "full"),
    full_mask={},
)
def deep_compression(
    model: nn.Module,
    *,
    of: Word,
    conv_bits: Bits = 8,
    linear_bits: Bits = 5,
) -> dict[str, Shared]:
    """Share the non-zero weights of every convolution (2^conv_bits values) and linear layer (2^linear_bits).

    ``of`` is the method whose run, of the same budget and seed, has pruned and trained the network. The recipe trains
    the shared values on (0 epochs leave them as k-means found them); then Huffman codes make a file of them. Source:
    Deep Compression (Han et al. 2016), sections 3 and 4, with its bits per kind of layer. Raises MethodError for
    weights that are not finite.
    """
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return {
        name: share(weight.detach().cpu(), linear_bits if name in linear else conv_bits)
        for name, weight in prunable(model).items()
    }


def share(weight: Tensor, bits: int) -> Shared:
    """Replace the non-zero values of a weight by at most 2^bits: k-means, centroids first spread evenly over the range.

    Where no more distinct values than that exist, they are kept as they are. Zeros stay zeros. A centroid may be zero;
    its weights count as kept all the same. Source: Deep Compression, section 3 (linear initialization).
    """
    if not torch.isfinite(weight).all():
        raise MethodError("deep_compression: weights are not finite; the network has diverged.")
    kept = weight != 0
    values = weight[kept].float().numpy()
    codebook, codes = np.unique(values, return_inverse=True)
    if len(codebook) > 2**bits:
        codebook, codes = _k_means(values, 2**bits)
    return Shared(kept, torch.from_numpy(codes.astype(np.uint8)), torch.from_numpy(codebook.astype(np.float32)))


def _k_means(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the centroids in use, ascending, and each value's centroid."""
    start = np.linspace(values.min(), values.max(), count, dtype=np.float32)[:, None]
    with threadpool_limits(1):  # sums over several threads come in any order: not the same bits every time
        found = KMeans(count, init=start, n_init=1).fit(values[:, None])
    centroids, codes = np.unique(found.cluster_centers_[found.labels_, 0], return_inverse=True)
    return centroids, codes


class _Codebook(nn.Module):
    """Makes a weight of its codebook; the gradient of a shared value is the sum over the weights that have it."""

    def __init__(self, shared: Shared, device: torch.device) -> None:
        super().__init__()
        self._start = shared.codebook
        index = torch.full(shared.kept.shape, len(shared.codebook), dtype=torch.int32)
        index[shared.kept] = shared.codes.int()
        self.register_buffer("index", index.to(device), persistent=False)

    def forward(self, codebook: Tensor) -> Tensor:
        return functional.pad(codebook, (0, 1))[self.index]

    def right_inverse(self, weight: Tensor) -> Tensor:
        return self._start.to(weight.device)


def attach_(model: nn.Module, layers: Mapping[str, Shared]) -> None:
    """Put shared values in place of weights: what trains from here on is each layer's codebook."""
    for name, shared in layers.items():
        module, _, attribute = name.rpartition(".")
        layer = model.get_submodule(module)
        codebook = _Codebook(shared, getattr(layer, attribute).device)
        parametrize.register_parametrization(layer, attribute, codebook, unsafe=True)  # the shape changes


def detach_(model: nn.Module, layers: Mapping[str, Shared]) -> dict[str, Shared]:
    """Put plain weights back, with the values that training has made of the codebooks, and return those."""
    found = {}
    for name, shared in layers.items():
        module, _, attribute = name.rpartition(".")
        layer = model.get_submodule(module)
        values = layer.parametrizations[attribute].original.detach().cpu().clone()
        found[name] = Shared(shared.kept, shared.codes, values)
        parametrize.remove_parametrizations(layer, attribute)
    return found
