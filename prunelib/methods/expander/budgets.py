"""How many edges each layer gets: one common degree, or the densities of Erdos-Renyi-Kernel; torch-free arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from prunelib.errors import MethodError
from prunelib.methods.expander import graphs
from prunelib.methods.expander.layers import Layer

Allocation = Literal["degree", "erk"]
PRECISION = 1e-12  # relative; the largest network has fewer edges than the inverse of this


def edges_at(family: str, layer: Layer, degree: float, name: str = "") -> int:
    """Return the edges per group that a degree means for a layer, clamped to the complete graph."""
    return min(graphs.stubs(family, layer.n_in, layer.n_out, degree, name), layer.pairs)


def edges_by_degree(family: str, layers: Mapping[str, Layer], weights: int) -> dict[str, int]:
    """Return the edges per group of the largest common degree whose layers keep at most ``weights`` weights.

    The degree may be fractional: then the degrees of a layer's vertices differ by one. Raises MethodError when even one
    edge per group is too much.
    """
    high = float(max(max(layer.n_in, layer.n_out) for layer in layers.values()))
    return _largest(
        lambda degree: {name: edges_at(family, layers[name], degree) for name in layers}, high, layers, weights
    )


def edges_by_erk(layers: Mapping[str, Layer], weights: int) -> dict[str, int]:
    """Return the edges per group of Erdos-Renyi-Kernel densities whose layers keep at most ``weights`` weights.

    Densities are those of ``Layer.erk``, eps as large as fits; at least one edge per group. Raises MethodError as
    edges_by_degree does.
    """
    raw = {name: layer.erk / layer.kernel for name, layer in layers.items()}
    high = max(layer.pairs / raw[name] for name, layer in layers.items()) * 2
    return _largest(
        lambda scale: {name: min(max(int(scale * raw[name]), 1), layer.pairs) for name, layer in layers.items()},
        high,
        layers,
        weights,
    )


def kept(edges: Mapping[str, int], layers: Mapping[str, Layer]) -> int:
    """Return how many weights so many edges per group keep."""
    return sum(count * layers[name].groups * layers[name].kernel for name, count in edges.items())


def _largest(
    at: Callable[[float], dict[str, int]], high: float, layers: Mapping[str, Layer], weights: int
) -> dict[str, int]:
    """Return the edges at the largest scale in (0, high] that keeps no more than ``weights``; ``at`` is monotone."""
    low = PRECISION
    if kept(at(low), layers) > weights:
        least = kept(at(low), layers)
        raise MethodError(
            f"one kernel in each of {len(layers)} layers makes {least} weights; only {weights} may be kept."
        )
    if kept(at(high), layers) <= weights:
        return at(high)
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (middle, high) if kept(at(middle), layers) <= weights else (low, middle)
    return at(low)
