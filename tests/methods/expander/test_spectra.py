from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from prunelib.methods.expander import spectra
from prunelib.methods.expander.graphs import sample

RNG = np.random.default_rng


def biadjacency(rows):
    return sparse.csr_array(np.array(rows, dtype=bool))


def describe(family, n_in, n_out, degree, draws=5):
    """Mean diagnostics over several draws."""
    rows = [spectra.describe(sample(family, n_in, n_out, degree, seed), RNG(seed)) for seed in range(draws)]
    return {column: float(np.mean([row[column] for row in rows])) for column in rows[0]}


# Measured on the authors' generators, mean of three draws: edges, sigma1, sigma2, bound, components, outputs without
# input, expansion score. Their bound averages the degrees of isolated vertices too, so it is lower where some are.
MEASURED = [
    ("rreg_merge", 64, 64, 3, 190, 2.99, 2.79, 2.81, 1, 0, 2.34),
    ("xnet", 64, 64, 3, 192, 3.66, 3.26, 2.83, 3.7, 2.7, 2.28),
    ("random", 64, 64, 3, 189, 4.12, 3.41, 2.79, 8, 3.7, 2.17),
    ("rreg_merge", 64, 128, 3, 378, 4.20, 3.55, 3.61, 1, 0, 3.21),
    ("xnet", 64, 128, 3, 192, 2.95, 2.77, 2.12, 31, 29, 1.86),
    ("random", 64, 128, 3, 197, 3.57, 3.31, 2.18, 34, 27, 1.85),
    ("rreg_merge", 512, 512, 3, 1533, 3.00, 2.82, 2.83, 1, 0, 2.33),
    ("xnet", 512, 512, 3, 1536, 3.78, 3.53, 2.83, 25, 24, 2.25),
    ("random", 512, 512, 3, 1506, 4.24, 3.90, 2.79, 57, 27, 2.14),
    ("rreg_merge", 512, 512, 15, 7592, 14.8, 7.28, 7.44, 1, 0, 5.19),
    ("xnet", 512, 512, 15, 7680, 15.5, 7.52, 7.48, 1, 0, 5.19),
    ("random", 512, 512, 15, 7660, 16.0, 7.71, 7.47, 1, 0, 5.14),
    ("rreg_merge", 512, 512, 60, 29028, 56.7, 14.1, 14.9, 1, 0, 7.72),
    ("xnet", 512, 512, 60, 30720, 60.5, 14.5, 15.4, 1, 0, 7.81),
    ("random", 512, 512, 60, 30740, 60.9, 14.5, 15.4, 1, 0, 7.80),
    ("rreg_merge", 64, 64, 60, 2520, 39.5, 7.4, 12.4, 1, 0, 7.32),
    ("xnet", 64, 64, 60, 3840, 60.0, 3.8, 15.4, 1, 0, 8.19),
    ("rreg_merge", 512, 128, 3, 1525, 5.97, 4.62, 4.71, 1, 0, 5.26),
    ("xnet", 512, 128, 3, 1536, 6.34, 5.13, 4.73, 1, 0, 5.29),
    ("random", 512, 128, 3, 1516, 7.24, 5.38, 4.69, 24, 0, 4.91),
]


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: "-".join(map(str, row[:4])))
def test_the_measured_table_is_met(row):
    family, n_in, n_out, degree, edges, sigma1, sigma2, bound, components, without_input, score = row
    found = describe(family, n_in, n_out, degree)
    assert found["edges"] == pytest.approx(
        edges, abs={"xnet": 0, "rreg_merge": 0.02 * edges}.get(family, 3 * edges**0.5)
    )
    assert found["sigma1"] == pytest.approx(sigma1, rel=0.06)
    assert found["sigma2"] == pytest.approx(sigma2, rel=0.06)
    assert found["bound"] == pytest.approx(bound, rel=0.06 if not found["isolated_in"] + without_input else 0.2)
    assert found["components"] == pytest.approx(components, abs=2 + 0.3 * components if components > 1 else 0.9)
    assert found["isolated_out"] == pytest.approx(without_input, abs=0.5 + 0.4 * without_input)
    assert found["expansion"] == pytest.approx(score, rel=0.1 if family == "random" else 0.04)


@pytest.mark.parametrize(("n_in", "n_out", "degree"), [(64, 64, 3), (512, 512, 3), (512, 128, 3), (512, 512, 60)])
def test_exact_biregular_graphs_are_nearly_ramanujan(n_in, n_out, degree):
    found = describe("rreg", n_in, n_out, degree)
    left, right = (max(n_in, n_out) * degree / side for side in (n_in, n_out))
    assert found["sigma1"] == pytest.approx(np.sqrt(left * right), abs=1e-9)
    assert found["bound"] == pytest.approx(np.sqrt(left - 1) + np.sqrt(right - 1), abs=1e-12)
    assert found["sigma2"] <= 1.01 * found["bound"]
    assert found["components"] == 1
    assert found["gap"] == pytest.approx(1 - found["sigma2"] / found["sigma1"], abs=1e-9)


def test_rreg_expands_more_than_the_others_at_degree_three():
    scores = [describe(family, 512, 512, 3, draws=2)["expansion"] for family in ("rreg", "xnet", "random")]
    assert scores[0] > scores[1] > scores[2]


def test_the_complete_graph():
    found = spectra.describe(biadjacency(np.ones((6, 9))), RNG(0))
    assert found["edges"] == 54
    assert found["sigma1"] == pytest.approx(np.sqrt(54))
    assert found["sigma2"] == pytest.approx(0, abs=1e-6)
    assert found["bound"] == pytest.approx(np.sqrt(8) + np.sqrt(5))
    assert found["gap"] == pytest.approx(1, abs=1e-6)
    assert found["ramanujan"]


def test_a_matching_is_disconnected_and_a_bad_expander():
    found = spectra.describe(biadjacency(np.eye(5)), RNG(0))
    assert (found["components"], found["sigma1"], found["sigma2"]) == (5, pytest.approx(1), pytest.approx(1))
    assert found["gap"] == pytest.approx(0, abs=1e-9)
    assert found["expansion"] == pytest.approx(1)
    assert not found["ramanujan"]


def test_isolated_vertices_are_counted_and_left_out_of_the_means():
    found = spectra.describe(biadjacency([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]), RNG(0))
    assert (found["isolated_in"], found["isolated_out"], found["components"]) == (1, 2, 4)
    assert found["bound"] == pytest.approx(2)  # degrees 2 and 2 on the used part
    assert found["gap"] == pytest.approx(1)


def test_the_heawood_graph_is_ramanujan():
    lines = [[(start + step) % 7 in (0, 1, 3) for step in range(7)] for start in range(7)]
    found = spectra.describe(biadjacency(lines), RNG(0))
    assert (found["sigma1"], found["sigma2"]) == (pytest.approx(3), pytest.approx(np.sqrt(2)))
    assert found["ramanujan"]


def test_an_empty_graph_has_measures_too():
    found = spectra.describe(sparse.csr_array((3, 4), dtype=bool), RNG(0))
    assert (found["edges"], found["components"], found["expansion"], found["sigma1"]) == (0, 7, 0, 0)


def test_one_vertex_on_a_side():
    found = spectra.describe(biadjacency(np.ones((1, 16))), RNG(0))
    assert (found["sigma1"], found["sigma2"], found["gap"]) == (pytest.approx(4), 0, 1)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.integers(0, 1000))
def test_values_agree_with_numpy_and_networkx(n_in, n_out, degree, seed):
    graph = sample("random", n_in, n_out, degree, seed)
    values = [*np.linalg.svd(graph.toarray().astype(float), compute_uv=False), 0.0]
    assert spectra.singular_values(graph) == pytest.approx(tuple(values[:2]), abs=1e-6)
    assert spectra.components(graph) == nx.number_connected_components(
        nx.bipartite.from_biadjacency_matrix(graph.astype(int))
    )


def test_lanczos_and_lapack_agree(monkeypatch):
    graph = sample("rreg", 300, 200, 5, 0)
    exact = spectra.singular_values(graph)
    monkeypatch.setattr(spectra, "DENSE_SIDE", 10)
    assert spectra.singular_values(graph) == pytest.approx(exact, rel=1e-9)
    assert spectra.singular_values(graph) == spectra.singular_values(graph)


def test_expansion_is_the_mean_over_subsets():
    graph = sample("xnet", 5, 6, 2, 3)
    dense, expected = graph.toarray(), []
    for side in (dense, dense.T):
        sizes = range(1, max((len(side) + 1) // 2, 2))
        means = [
            np.mean([side[list(chosen)].any(0).sum() / k for chosen in combinations(range(len(side)), k)])
            for k in sizes
        ]
        expected.append(np.mean(means))
    assert spectra.expansion(graph, RNG(0), subsets=40_000) == pytest.approx(np.mean(expected), abs=0.01)


def test_subset_counts_need_not_fill_machine_words():
    graph = biadjacency(np.eye(4))
    for subsets in (1, 63, 64, 65):
        assert spectra.expansion(graph, RNG(0), subsets) == pytest.approx(1)


def test_the_worst_set_is_found_where_it_is_planted():
    rng, rows = RNG(0), np.zeros((40, 40), dtype=bool)
    rows[:8, :4] = True  # eight inputs that see four outputs only
    rows[8:] = rng.random((32, 40)) < 0.3
    worst_in, worst_out = spectra.worst_expansion(biadjacency(rows))
    assert worst_in == pytest.approx(0.5)
    assert worst_out > 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 4), st.integers(0, 1000))
def test_the_worst_set_found_is_no_better_than_the_true_one(n_in, n_out, degree, seed):
    graph = sample("random", n_in, n_out, degree, seed)
    dense, found = graph.toarray(), spectra.worst_expansion(graph, starts=n_in + n_out)
    for side, least in zip((dense, dense.T), found, strict=True):
        sizes = range(1, max(len(side) // 2, 1) + 1)
        sets = [chosen for k in sizes for chosen in combinations(range(len(side)), k)]
        true = min(side[list(chosen)].any(0).sum() / len(chosen) for chosen in sets)
        assert true <= least + 1e-12 <= 1.5 * true + 0.5


def test_worst_expansion_orders_the_families():
    worst = {
        family: spectra.worst_expansion(sample(family, 256, 256, 3, 0))[1] for family in ("rreg", "xnet", "random")
    }
    assert worst["rreg"] > 0.8
    assert worst["xnet"] == worst["random"] == 0  # outputs without input


def test_worst_expansion_of_known_graphs():
    assert spectra.worst_expansion(biadjacency(np.ones((6, 9)))) == (3.0, 1.5)
    assert spectra.worst_expansion(biadjacency(np.eye(6))) == (1.0, 1.0)
    assert spectra.worst_expansion(biadjacency(np.ones((1, 4)))) == (4.0, 0.5)
