"""What makes a bipartite graph an expander: degrees, components, singular values, Ramanujan bound, sampled expansion.

A graph is its biadjacency matrix: a scipy sparse array of shape (inputs, outputs), nonzero where an edge is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse import csgraph

from prunelib.methods.expander import loops

DENSE_SIDE = 1024  # up to this smaller side LAPACK on the Gram matrix is exact and fast enough; above, Lanczos
SUBSETS = 1000  # subsets per side of the paper's expansion score
STARTS = 4  # vertices per side that the greedy search for a bad set begins with
ROUND = 1e-9  # slack of the comparison with the bound, so that no library's last digit decides it


def singular_values(graph: sparse.csr_array) -> tuple[float, float]:
    """Return the two largest singular values of the biadjacency matrix; the second is 0 when a side has one vertex.

    The eigenvalues of the bipartite graph's adjacency matrix are plus and minus these values.
    """
    matrix = graph.astype(np.float64)
    smaller = min(matrix.shape)
    if smaller <= DENSE_SIDE:
        gram = (matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix).toarray()
        top = linalg.eigvalsh(gram, subset_by_index=[max(smaller - 2, 0), smaller - 1])
        values = np.sqrt(np.maximum(top, 0.0))
    else:
        start = np.random.default_rng(0).random(smaller)  # a fixed start, so that the same graph gives the same digits
        values = np.sort(sparse.linalg.svds(matrix, k=2, v0=start, return_singular_vectors=False))
    return float(values[-1]), float(values[-2]) if values.size > 1 else 0.0


def ramanujan_bound(graph: sparse.csr_array) -> float:
    """Return sqrt(dL - 1) + sqrt(dR - 1), with the mean degrees of the vertices that have an edge.

    A biregular graph is Ramanujan when its second singular value is at most this; no large graph can do better.
    """
    left, right = degrees(graph)
    means = [side[side > 0].mean() if side.any() else 1.0 for side in (left, right)]
    return float(sum(np.sqrt(mean - 1.0) for mean in means))


def is_ramanujan(sigma2: float, bound: float) -> bool:
    """Say whether sigma2 <= bound, up to a billionth of the bound."""
    return sigma2 <= bound * (1 + ROUND) + ROUND


def normalised_gap(graph: sparse.csr_array) -> float:
    """Return 1 - sigma2 of D_L^-1/2 B D_R^-1/2, in [0, 1], isolated vertices left out; 0 = disconnected or empty."""
    left, right = degrees(graph)
    if not left.any():
        return 0.0
    used = graph.astype(np.float64)[left > 0][:, right > 0]
    scale_left, scale_right = (sparse.diags_array(side[side > 0] ** -0.5) for side in (left, right))
    return min(max(1.0 - singular_values((scale_left @ used @ scale_right).tocsr())[1], 0.0), 1.0)


def degrees(graph: sparse.csr_array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the degree of every input and of every output."""
    inputs, outputs = (graph != 0).tocoo().coords
    return _histogram(inputs, graph.shape[0]), _histogram(outputs, graph.shape[1])


def _histogram(ends: NDArray[np.integer], side: int) -> NDArray[np.float64]:
    return np.bincount(ends, minlength=side).astype(np.float64)


def components(graph: sparse.csr_array) -> int:
    """Return the number of connected components; an isolated vertex is one."""
    square = sparse.block_array([[None, graph], [graph.T, None]])
    return int(csgraph.connected_components(square, directed=False, return_labels=False))


def expansion(graph: sparse.csr_array, rng: np.random.Generator, subsets: int = SUBSETS) -> float:
    """Return the paper's sampled vertex expansion: the mean of |N(S)| / |S| over random subsets of both sides.

    (1 / 2M) sum over m = 1..M of |N(S_L)| / k_L + |N(S_R)| / k_R, k uniform in 1 .. ceil(n / 2) - 1 (1 where that is
    empty), S a uniform k-subset. Source: Stewart et al., CVPR-W 2023.
    """
    return Expansion(*graph.shape, rng, subsets).score(cells_of(graph))


class Expansion:
    """The sampled expansion score on fixed subsets, so that graphs of one shape are compared without noise."""

    def __init__(self, n_in: int, n_out: int, rng: np.random.Generator, subsets: int = SUBSETS) -> None:
        """Draw ``subsets`` subsets of the inputs and as many of the outputs."""
        self._sizes = [np.sort(rng.integers(1, max((side + 1) // 2, 2), size=subsets)) for side in (n_in, n_out)]
        bits = [rng.integers(1 << 32, size=sizes.sum(), dtype=np.uint32) for sizes in self._sizes]
        self._members = [loops.choose(*drawn) for drawn in zip((n_in, n_out), self._sizes, bits, strict=True)]

    def score(self, cells: NDArray[np.int64]) -> float:
        """Return the score of the graph with these edges; exactly rounded, the same everywhere.

        ``cells``: input * n_out + output of every edge, by ascending input; one that comes twice counts once. The score
        has no dimension and lies in [0, max degree].
        """
        found = zip(loops.reached(cells, *self._members), self._sizes, strict=True)
        means = [math.fsum((counts[: sizes.size] / sizes).tolist()) / sizes.size for counts, sizes in found]
        return sum(means) / 2


def cells_of(graph: sparse.csr_array) -> NDArray[np.int64]:
    """Return input * n_out + output of every edge, ascending."""
    sources = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    return sources * graph.shape[1] + graph.indices


def worst_expansion(graph: sparse.csr_array, starts: int = STARTS) -> tuple[float, float]:
    """Return the least |N(S)| / |S| found over sets S of at most half the inputs, and of at most half the outputs.

    Greedy: from each of the ``starts`` vertices of lowest degree, add the vertex with the fewest new neighbours (of
    those, the first). An upper bound of the true minimum, which is NP-hard to find; 0 where a vertex is isolated.
    """
    rows, columns = graph.tocsr(), graph.T.tocsr()
    return _greedy(rows, columns, starts), _greedy(columns, rows, starts)


def _greedy(forth: sparse.csr_array, back: sparse.csr_array, starts: int) -> float:
    degree = np.diff(forth.indptr)
    least = np.inf
    for start in np.argsort(degree, kind="stable")[:starts]:
        gain, covered, reached = degree.astype(np.int64), np.zeros(back.shape[0], dtype=bool), 0
        vertex = int(start)
        for size in range(1, max(degree.size // 2, 1) + 1):
            fresh = forth.indices[forth.indptr[vertex] : forth.indptr[vertex + 1]]
            fresh = fresh[~covered[fresh]]
            covered[fresh] = True
            reached += fresh.size
            least = min(least, reached / size)
            for new in fresh:  # each is covered once, so all of this is linear in the edges
                gain[back.indices[back.indptr[new] : back.indptr[new + 1]]] -= 1
            gain[vertex] = np.iinfo(np.int64).max // 2  # out of reach of the subtractions
            vertex = int(np.argmin(gain))
    return float(least)


def describe(graph: sparse.csr_array, rng: np.random.Generator) -> dict[str, float]:
    """Return every measure of one graph as a flat row: the columns of a diagnostics table."""
    left, right = degrees(graph)
    sigma1, sigma2 = singular_values(graph)
    bound = ramanujan_bound(graph)
    return {
        "inputs": graph.shape[0],
        "outputs": graph.shape[1],
        "edges": left.sum(),
        "degree_in_min": left.min(),
        "degree_in_max": left.max(),
        "degree_out_min": right.min(),
        "degree_out_max": right.max(),
        "isolated_in": (left == 0).sum(),
        "isolated_out": (right == 0).sum(),
        "components": components(graph),
        "sigma1": sigma1,
        "sigma2": sigma2,
        "bound": bound,
        "ramanujan": is_ramanujan(sigma2, bound),
        "gap": normalised_gap(graph),
        "expansion": expansion(graph, rng),
    }
