"""Families of random bipartite graphs between a layer's input and output channels.

A family is a function ``family(n_in, n_out, stubs, rng) -> cells``: ``stubs`` is how many edges are asked for, cells
are flat indices input * n_out + output by ascending input; one that comes twice is one edge. Its facts: ``side`` says
whose degree a degree means ("inputs", "outputs", "larger", "smaller": the side with more or fewer vertices); ``exact``
says whether min(stubs, n_in * n_out) edges come out, always. Every draw is an integer of PCG64 and every comparison one
of integers (``ramanujan``, which needs singular values, rounds them), so neither BLAS nor threads nor libm decide
anything.
Source: Stewart, Michieli, Ozay, "Data-Free Model Pruning at Initialization via Expanders", CVPR-W 2023; xnet_original:
Prabhu, Varma, Namboodiri, "Deep Expander Networks", ECCV 2018.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from prunelib.methods.expander import loops
from prunelib.methods.expander.spectra import is_ramanujan, ramanujan_bound, singular_values
from prunelib.registry import register

Cells = NDArray[np.integer]

TRIES = 64  # graphs that ramanujan draws before it settles for the best of them
FULL = 32  # stubs per pair from which the merged graph is complete, but for a chance of n_in * n_out * exp(-32)


@register("family", "random", side="inputs", exact=True)
def random(n_in: int, n_out: int, stubs: int, rng: np.random.Generator) -> Cells:
    """Erdos-Renyi with a fixed number of edges: every set of so many pairs is equally likely."""
    pairs = n_in * n_out
    edges = min(stubs, pairs)
    if 2 * edges > pairs:
        return _complement(random(n_in, n_out, pairs - edges, rng), pairs)
    return np.sort(rng.choice(pairs, edges, replace=False, shuffle=False))


@register("family", "random_pairs", side="inputs", exact=False)
def random_pairs(n_in: int, n_out: int, stubs: int, rng: np.random.Generator) -> Cells:
    """Erdos-Renyi as the authors draw it: every pair on its own with probability stubs / pairs, given that one is in.

    The probability is rounded to a multiple of 2^-32.
    """
    pairs = n_in * n_out
    if stubs >= pairs:
        return np.arange(pairs)
    threshold, cells = max((stubs << 32) // pairs, 1), np.empty(0, dtype=np.int64)
    while cells.size == 0:
        cells = np.flatnonzero(rng.integers(1 << 32, size=pairs, dtype=np.uint32) < threshold)
    return cells


@register("family", "xnet", side="inputs", exact=True)
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


@register("family", "right_regular", side="outputs", exact=True)
def right_regular(n_in: int, n_out: int, stubs: int, rng: np.random.Generator) -> Cells:
    """Right-regular: every output chooses stubs / n_out distinct inputs uniformly; inputs that feed nothing occur."""
    sources, targets = np.divmod(xnet(n_out, n_in, stubs, rng), n_in)
    return np.sort(targets * n_out + sources)


@register("family", "xnet_original", side="smaller", exact=True)
def xnet_original(n_in: int, n_out: int, stubs: int, rng: np.random.Generator) -> Cells:
    """Regular on the smaller side, as XNet was published: outputs choose their inputs where there are fewer of them."""
    return (right_regular if n_out < n_in else xnet)(n_in, n_out, stubs, rng)


@register("family", "rreg", side="larger", exact=True)
def rreg(n_in: int, n_out: int, stubs: int, rng: np.random.Generator) -> Cells:
    """Random biregular: degrees on either side as equal as the number of edges allows, no two edges parallel.

    Above half density the complement is drawn, which is biregular too.
    """
    edges = min(stubs, n_in * n_out)
    if 2 * edges > n_in * n_out:
        return _complement(rreg(n_in, n_out, n_in * n_out - edges, rng), n_in * n_out)
    return _simple_matching(_split(edges, n_in, rng), _split(edges, n_out, rng), rng)


@register("family", "ramanujan", side="larger", exact=True)
def ramanujan(n_in: int, n_out: int, stubs: int, rng: np.random.Generator) -> Cells:
    """Random biregular, drawn again until sigma2 <= sqrt(dL - 1) + sqrt(dR - 1), at most ``TRIES`` times.

    Where none of them passes (for example a matching, degree 1, never can) the one of least sigma2 / bound is
    returned: the column ``ramanujan`` of the diagnostics says for every layer whether its graph passed.
    """
    best, least = rreg(n_in, n_out, stubs, rng), np.inf
    cells = best
    for _ in range(TRIES):
        graph = biadjacency(cells, n_in, n_out)
        sigma2, bound = singular_values(graph)[1], ramanujan_bound(graph)
        if is_ramanujan(sigma2, bound):
            return cells
        if round(sigma2 / max(bound, 1e-9), 9) < least:
            best, least = cells, round(sigma2 / max(bound, 1e-9), 9)
        cells = rreg(n_in, n_out, stubs, rng)
    return best


@register("family", "rreg_merge", side="larger", exact=False, candidates=100)
def rreg_merge(n_in: int, n_out: int, stubs: int, rng: np.random.Generator) -> Cells:
    """The authors' generator: evenly split stubs of both sides matched at random, parallel edges merged into one.

    Keeps about n_in * n_out * (1 - exp(-stubs / (n_in * n_out))) edges, so it is not regular, and a degree above a side
    is not clamped: it fills the graph up, until from ``FULL`` stubs per pair on it is complete.
    """
    if stubs >= FULL * n_in * n_out:
        return np.arange(n_in * n_out)
    narrow = np.int32 if n_in * n_out < 1 << 31 else np.int64  # half the memory to go through, a hundred times a layer
    targets = np.repeat(np.arange(n_out, dtype=narrow), _split(stubs, n_out, rng))
    loops.shuffle_(targets, rng.integers(1 << 32, size=stubs, dtype=np.uint32))
    targets += np.repeat(np.arange(n_in, dtype=narrow) * n_out, _split(stubs, n_in, rng))
    return targets


def merged(cells: Cells, pairs: int) -> Cells:
    """Return every cell once, ascending; ``pairs``: how many cells there could be."""
    occupied = np.zeros(pairs, dtype=bool)
    occupied[cells] = True
    return np.flatnonzero(occupied)


def biadjacency(cells: Cells, n_in: int, n_out: int) -> sparse.csr_array:
    """Return the boolean matrix (n_in, n_out) that is True in the given cells and nowhere else."""
    cells = merged(cells, n_in * n_out)
    indptr = np.searchsorted(cells, np.arange(n_in + 1) * n_out)
    return sparse.csr_array((np.ones(cells.size, dtype=bool), cells % n_out, indptr), shape=(n_in, n_out))


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
    if total % parts:
        shares[rng.choice(parts, total % parts, replace=False)] += 1
    return shares


def _complement(cells: Cells, size: int) -> Cells:
    """Return the cells that are not among the given ones."""
    free = np.ones(size, dtype=bool)
    free[cells] = False
    return np.flatnonzero(free)
