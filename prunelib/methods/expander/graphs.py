"""Draw the graph of one layer: a family, two sides, and how many edges by degree, by number or by density.

A graph is a boolean scipy csr array of shape (inputs, outputs). The same arguments give the same graph
on every machine.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from scipy import sparse

from prunelib import registry
from prunelib.errors import MethodError
from prunelib.methods.expander.families import Cells, biadjacency, merged
from prunelib.methods.expander.spectra import Expansion
from prunelib.registry import Entry
from prunelib.seeds import numpy_generator


def sample(
    family: str,
    n_in: int,
    n_out: int,
    degree: float | None = None,
    seed: int | np.random.Generator = 0,
    layer: str = "",
    candidates: int = 1,
    *,
    edges: int | None = None,
    density: float | None = None,
) -> sparse.csr_array:
    """Draw the graph of one layer: a boolean biadjacency matrix of shape (n_in, n_out), never empty.

    Give one of ``degree`` (edges per vertex of the family's side; above the other side it means the complete graph,
    but see rreg_merge), ``edges`` (exactly so many, 1 .. n_in * n_out, in every family) and ``density`` (in (0, 1]:
    that share of all pairs, rounded, at least one). A seed is split into a stream per (layer, family); a generator is
    used as it is. Of several ``candidates`` the one of highest sampled expansion is returned; all are scored on the
    same subsets, so the choice is between graphs, not between subsets. Raises MethodError for an impossible number and
    for a side without vertices, ConfigError for an unknown family.
    """
    entry, where = registry.entry("family", family), layer or family
    _check_sides(n_in, n_out, where)
    wanted = _edges(n_in, n_out, degree, edges, density, where)
    rng = seed if isinstance(seed, np.random.Generator) else numpy_generator(seed, "graph", layer, family)
    if wanted is None:
        count = stubs(family, n_in, n_out, degree or 0.0, layer)
        build = partial(entry.load(), n_in, n_out, count, rng)
    else:
        build = partial(_exactly, entry, n_in, n_out, wanted, rng)
    if candidates == 1:
        return biadjacency(build(), n_in, n_out)
    scoring = seed if isinstance(seed, np.random.Generator) else numpy_generator(seed, "expansion", layer, family)
    score = Expansion(n_in, n_out, scoring).score
    return biadjacency(max((build() for _ in range(candidates)), key=score), n_in, n_out)


def stubs(family: str, n_in: int, n_out: int, degree: float, layer: str = "") -> int:
    """Return how many edges a degree means: degree * (vertices of the family's side), rounded, at least 1, unclamped.

    Raises MethodError for a degree that is not a positive number and for a side without vertices.
    """
    where = layer or family
    _check_sides(n_in, n_out, where)
    if not (math.isfinite(degree) and degree > 0):
        raise MethodError(f"{where}: degree {degree} is not possible; a degree is a positive number.")
    sides = {"inputs": n_in, "outputs": n_out, "larger": max(n_in, n_out), "smaller": min(n_in, n_out)}
    return max(round(degree * sides[registry.entry("family", family).facts["side"]]), 1)


def _check_sides(n_in: int, n_out: int, where: str) -> None:
    if min(n_in, n_out) < 1:
        raise MethodError(f"{where}: a graph between {n_in} inputs and {n_out} outputs has no edges.")


def _edges(
    n_in: int, n_out: int, degree: float | None, edges: int | None, density: float | None, where: str
) -> int | None:
    """Return the exact number of edges asked for, or None when a degree is given instead."""
    given = {"degree": degree, "edges": edges, "density": density}
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        raise MethodError(f"{where}: got {named or 'nothing'}; give one of degree, edges and density.")
    pairs = n_in * n_out
    if edges is not None and not 1 <= edges <= pairs:
        raise MethodError(
            f"{where}: {edges} edges are not possible between {n_in} and {n_out} vertices (1 .. {pairs})."
        )
    if density is not None:
        if not 0 < density <= 1:
            raise MethodError(f"{where}: density {density} is not possible; a density lies in (0, 1].")
        return max(round(density * pairs), 1)
    return edges


def _exactly(entry: Entry, n_in: int, n_out: int, edges: int, rng: np.random.Generator) -> Cells:
    """Draw a graph with just so many edges; an inexact family draws more than enough and loses the rest at random."""
    build, pairs = entry.load(), n_in * n_out
    if entry.facts["exact"] or edges == pairs:
        return np.arange(pairs) if edges == pairs else build(n_in, n_out, edges, rng)
    count = math.ceil(-pairs * math.log1p(-edges / pairs))  # stubs that leave about so many after merging
    while (cells := merged(build(n_in, n_out, count, rng), pairs)).size < edges:
        count += 1 + count // 16
    return np.sort(rng.choice(cells, edges, replace=False, shuffle=False))
