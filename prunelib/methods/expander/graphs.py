"""Families of random bipartite graphs between a layer's input and output channels; numpy and scipy only.

A family is a function ``family(n_in, n_out, stubs, rng) -> cells``: ``stubs`` is how many edges it should have, cells
are sorted flat indices input * n_out + output. Its fact ``regular`` says whose degree a degree means: "inputs" or
"larger" (the side with more vertices). Degrees above a side are clamped to the complete graph, no graph is empty.
Source: Stewart, Michieli, Ozay, "Data-Free Model Pruning at Initialization via Expanders", CVPR-W 2023.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from prunelib import registry
from prunelib.errors import MethodError
from prunelib.methods.expander.spectra import Expansion
from prunelib.registry import register
from prunelib.seeds import numpy_generator

Cells = NDArray[np.int64]


def sample(
    family: str, n_in: int, n_out: int, degree: float, seed: int, layer: str = "", candidates: int = 1
) -> sparse.csr_array:
    """Draw the graph of one layer: a boolean biadjacency matrix of shape (n_in, n_out).

    The same family, sides, degree, seed and layer give the same graph. Raises MethodError for a degree that is not a
    positive number and for a side without vertices, ConfigError for an unknown family. With several ``candidates``, the
    one of highest sampled expansion: all are scored on the same subsets, so the choice is between graphs, not subsets.
    """
    edges = stubs(family, n_in, n_out, degree, layer)
    build = registry.load("family", family)
    rng = numpy_generator(seed, "graph", layer, family)
    graphs = [_biadjacency(build(n_in, n_out, edges, rng), n_in, n_out) for _ in range(candidates)]
    if candidates == 1:
        return graphs[0]
    expansion = Expansion(n_in, n_out, numpy_generator(seed, "expansion", layer, family))
    return max(graphs, key=expansion.score)


def stubs(family: str, n_in: int, n_out: int, degree: float, layer: str = "") -> int:
    """Return how many edges a degree means: degree * n_in or degree * max(n_in, n_out), by family; rounded, >= 1."""
    if not (math.isfinite(degree) and degree > 0):
        raise MethodError(f"{layer or family}: degree {degree} is not possible; a degree is a positive number.")
    if min(n_in, n_out) < 1:
        raise MethodError(f"{layer or family}: a graph between {n_in} inputs and {n_out} outputs has no edges.")
    side = n_in if registry.entry("family", family).facts["regular"] == "inputs" else max(n_in, n_out)
    return max(round(degree * side), 1)


@register("family", "random", regular="inputs")
def random_pairs(n_in: int, n_out: int, stubs: int, rng: np.random.Generator) -> Cells:
    """Erdos-Renyi: every pair independently with probability stubs / (n_in * n_out), given that one edge exists."""
    pairs, count = n_in * n_out, 0
    while count == 0:
        count = rng.binomial(pairs, min(stubs / pairs, 1.0))
    return np.sort(rng.choice(pairs, count, replace=False, shuffle=False))


@register("family", "xnet", regular="inputs")
def xnet(n_in: int, n_out: int, stubs: int, rng: np.random.Generator) -> Cells:
    """Left-regular: every input chooses stubs / n_in distinct outputs uniformly; outputs without input occur."""
    edges = min(stubs, n_in * n_out)
    if 2 * edges > n_in * n_out:
        return _complement(xnet(n_in, n_out, n_in * n_out - edges, rng), n_in * n_out)
    sources = np.repeat(np.arange(n_in), _split(edges, n_in, rng))
    targets = np.empty_like(sources)
    occupied = np.zeros(n_in * n_out, dtype=bool)
    waiting = np.arange(edges)
    while waiting.size:  # whoever collides draws again: by symmetry the outputs of an input stay a uniform subset
        targets[waiting] = rng.integers(n_out, size=waiting.size)
        waiting = waiting[~_settle(sources[waiting] * n_out + targets[waiting], occupied)]
    return np.flatnonzero(occupied)


@register("family", "rreg", regular="larger")
def rreg(n_in: int, n_out: int, stubs: int, rng: np.random.Generator) -> Cells:
    """Random biregular: min(stubs, n_in * n_out) edges, degrees on either side as equal as possible, none parallel.

    Above half density the complement is drawn, which is biregular too.
    """
    edges = min(stubs, n_in * n_out)
    if 2 * edges > n_in * n_out:
        return _complement(rreg(n_in, n_out, n_in * n_out - edges, rng), n_in * n_out)
    return _simple_matching(_split(edges, n_in, rng), _split(edges, n_out, rng), rng)


@register("family", "rreg_merge", regular="larger")
def rreg_merge(n_in: int, n_out: int, stubs: int, rng: np.random.Generator) -> Cells:
    """The authors' generator: evenly split stubs of both sides matched at random, parallel edges merged into one.

    Keeps about n_in * n_out * (1 - exp(-stubs / (n_in * n_out))) edges, so it is not regular; nothing is clamped.
    """
    sources = np.repeat(np.arange(n_in), _split(stubs, n_in, rng))
    targets = np.repeat(np.arange(n_out), _split(stubs, n_out, rng))
    return np.unique(sources * n_out + rng.permutation(targets))


def _simple_matching(left: Cells, right: Cells, rng: np.random.Generator) -> Cells:
    """Match stubs of the given degrees at random and switch parallel edges away, all of a round at once.

    A parallel edge (u, v) and a settled edge (x, y) become (u, y) and (x, v) where both cells are free. Up to half
    density a usable (x, y) always exists: fewer edges end in N(u) than leave the inputs outside N(v).
    """
    sources, targets = np.repeat(np.arange(left.size), left), rng.permutation(np.repeat(np.arange(right.size), right))
    occupied = np.zeros(left.size * right.size, dtype=bool)
    settled = np.zeros(sources.size, dtype=bool)
    waiting = np.arange(sources.size)
    while waiting.size:
        fits = _settle(sources[waiting] * right.size + targets[waiting], occupied)
        settled[waiting[fits]] = True
        waiting = waiting[~fits]
        partner = rng.integers(sources.size, size=waiting.size)
        first = sources[waiting] * right.size + targets[partner]
        second = sources[partner] * right.size + targets[waiting]
        usable = settled[partner] & ~occupied[first] & ~occupied[second]
        chosen = np.flatnonzero(usable)
        chosen = chosen[_once(partner[chosen])]
        chosen = chosen[_once(np.concatenate([first[chosen], second[chosen]])).reshape(2, -1).all(axis=0)]
        edge, other = waiting[chosen], partner[chosen]
        occupied[sources[other] * right.size + targets[other]] = False
        occupied[second[chosen]] = True  # the partner stays settled; the edge itself settles at the next round's start
        targets[edge], targets[other] = targets[other], targets[edge]
    return np.flatnonzero(occupied)


def _settle(cells: Cells, occupied: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Occupy every free cell for the first edge that asks for it; return which edges got theirs."""
    _, first = np.unique(cells, return_index=True)
    first = first[~occupied[cells[first]]]
    occupied[cells[first]] = True
    fits = np.zeros(cells.size, dtype=bool)
    fits[first] = True
    return fits


def _once(values: Cells) -> NDArray[np.bool_]:
    """Mark the values that occur exactly once."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[inverse] == 1


def _split(total: int, parts: int, rng: np.random.Generator) -> Cells:
    """Split ``total`` as evenly as possible; who gets one more is random."""
    shares = np.full(parts, total // parts)
    shares[rng.choice(parts, total % parts, replace=False)] += 1
    return shares


def _complement(cells: Cells, size: int) -> Cells:
    """Return the cells that are not among the given ones."""
    free = np.ones(size, dtype=bool)
    free[cells] = False
    return np.flatnonzero(free)


def _biadjacency(cells: Cells, n_in: int, n_out: int) -> sparse.csr_array:
    coords = np.divmod(cells, n_out)
    return sparse.csr_array((np.ones(cells.size, dtype=bool), coords), shape=(n_in, n_out))
