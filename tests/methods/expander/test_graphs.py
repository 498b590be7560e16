import time
from collections import Counter

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib import registry
from prunelib.errors import ConfigError, MethodError
from prunelib.methods.expander.families import rreg
from prunelib.methods.expander.graphs import sample
from prunelib.methods.expander.spectra import degrees, expansion
from prunelib.seeds import numpy_generator

FAMILIES = ["ramanujan", "random", "random_pairs", "right_regular", "rreg", "rreg_merge", "xnet", "xnet_original"]
SIDES = st.integers(1, 96)


def test_the_families_are_registered():
    assert registry.names("family") == FAMILIES


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, st.integers(1, 120), st.integers(0, 2**40))
def test_rreg_is_biregular_and_simple(n_in, n_out, degree, seed):
    graph = sample("rreg", n_in, n_out, degree, seed)
    edges = max(n_in, n_out) * min(degree, n_in, n_out)
    larger, smaller = sorted(degrees(graph), key=len, reverse=True)
    assert graph.nnz == edges == graph.sum(dtype=int)
    assert set(larger) == {min(degree, n_in, n_out)}
    assert {edges // len(smaller), -(-edges // len(smaller))} >= set(smaller)


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, st.integers(1, 120), st.integers(0, 2**40))
def test_xnet_is_left_regular_and_simple(n_in, n_out, degree, seed):
    graph = sample("xnet", n_in, n_out, degree, seed)
    assert set(degrees(graph)[0]) == {min(degree, n_out)}
    assert graph.nnz == n_in * min(degree, n_out) == graph.sum(dtype=int)


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, st.integers(1, 120), st.integers(0, 2**40))
def test_rreg_merge_never_exceeds_its_stubs(n_in, n_out, degree, seed):
    graph = sample("rreg_merge", n_in, n_out, degree, seed)
    larger, smaller = sorted(degrees(graph), key=len, reverse=True)
    assert larger.max() <= degree
    assert smaller.max() <= -(-degree * len(larger) // len(smaller))
    assert larger.min() >= 1


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FAMILIES), SIDES, SIDES, st.floats(0.01, 300), st.integers(0, 2**40))
def test_no_graph_is_empty_and_a_seed_fixes_it(family, n_in, n_out, degree, seed):
    graph = sample(family, n_in, n_out, degree, seed, "conv1")
    assert graph.shape == (n_in, n_out)
    assert 1 <= graph.nnz <= n_in * n_out
    assert (graph != sample(family, n_in, n_out, degree, seed, "conv1")).nnz == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_seeds_layers_and_families_have_their_own_streams(family):
    base = sample(family, 64, 64, 3, 0, "conv1")
    for other in (sample(family, 64, 64, 3, 1, "conv1"), sample(family, 64, 64, 3, 0, "conv2")):
        assert (base != other).nnz > 200  # two independent graphs of 192 edges share about 9


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["rreg", "xnet"]), SIDES, SIDES, st.data())
def test_edge_counts_are_exact_and_evenly_spread(family, n_in, n_out, data):
    edges = data.draw(st.integers(1, n_in * n_out))
    side = n_in if family == "xnet" else max(n_in, n_out)
    left, right = degrees(sample(family, n_in, n_out, edges / side, 0))
    assert left.sum() == edges
    assert np.ptp(left) <= 1
    assert family == "xnet" or np.ptp(right) <= 1


def test_every_small_biregular_graph_occurs_about_equally_often():
    rng = np.random.default_rng(1)
    counts = Counter(tuple(rreg(4, 4, 8, rng)) for _ in range(9000))
    assert len(counts) == 90  # all 4×4 matrices with two ones in every row and column
    assert 45 <= min(counts.values()) <= max(counts.values()) <= 150


def test_random_pairs_are_independent_with_the_stated_probability():
    counts = [sample("random_pairs", 64, 128, 3, seed).nnz for seed in range(400)]
    assert np.mean(counts) == pytest.approx(192, abs=4 * np.sqrt(192 / 400))
    assert np.var(counts) == pytest.approx(192 * (1 - 3 / 128), rel=0.25)
    assert sample("random_pairs", 8, 5, 5, 0).nnz == sample("random_pairs", 8, 5, 99, 0).nnz == 40


def test_random_graphs_of_fixed_size_are_equally_likely():
    rng = np.random.default_rng(0)
    sets = Counter(tuple(sample("random", 2, 3, seed=rng, edges=2).toarray().ravel()) for _ in range(6000))
    assert len(sets) == 15
    assert 320 <= min(sets.values()) <= max(sets.values()) <= 480


def test_xnet_outputs_have_binomial_degrees():
    right = np.concatenate([degrees(sample("xnet", 512, 512, 3, seed))[1] for seed in range(10)])
    assert np.mean(right == 0) == pytest.approx((1 - 3 / 512) ** 512, abs=0.01)
    assert np.var(right) == pytest.approx(3 * (1 - 3 / 512), rel=0.08)


def test_degrees_above_a_side_are_clamped_to_the_complete_graph():
    for family in ("rreg", "xnet", "random"):
        assert sample(family, 3, 64, 64, 0).nnz == 192
    assert sample("rreg", 3, 64, 3, 0).nnz == 192
    assert sample("xnet", 3, 64, 3, 0).nnz == 9


@pytest.mark.parametrize(
    ("sides", "expected", "within"),
    [((3, 64, 3), 135, 12), ((64, 64, 60), 2515, 50), ((64, 64, 100), 3264, 50), ((512, 512, 60), 29028, 150)],
)
def test_rreg_merge_overfills_and_merges_instead_of_clamping(sides, expected, within):
    assert sample("rreg_merge", *sides, 0).nnz == pytest.approx(expected, abs=within)


@pytest.mark.parametrize("family", FAMILIES)
def test_grey_images_have_one_input(family):
    graph = sample(family, 1, 16, 3, 0)
    assert graph.nnz == {"xnet": 3, "random": 3, "xnet_original": 3, "random_pairs": graph.nnz}.get(family, 16)
    assert graph.nnz >= 1


@pytest.mark.parametrize("degree", [0, -1, float("nan"), float("inf")])
def test_impossible_degrees_are_refused(degree):
    with pytest.raises(MethodError, match=r"conv1: degree .* positive"):
        sample("rreg", 8, 8, degree, 0, "conv1")


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        ({}, "conv1: got nothing; give one of degree, edges and density"),
        ({"degree": 3, "edges": 5}, "give one of degree, edges and density"),
        ({"edges": 0}, r"conv1: 0 edges are not possible between 8 and 8 vertices \(1 .. 64\)"),
        ({"edges": 65}, "65 edges are not possible"),
        ({"density": 0.0}, r"density 0.0 is not possible; a density lies in \(0, 1\]"),
        ({"density": 1.5}, "density 1.5 is not possible"),
        ({"density": float("nan")}, "density nan is not possible"),
    ],
)
def test_impossible_amounts_are_refused(amount, message):
    with pytest.raises(MethodError, match=message):
        sample("rreg", 8, 8, layer="conv1", **amount)


def test_a_generator_is_used_as_it_is():
    first, second = (sample("rreg", 32, 32, 3, np.random.default_rng(1)) for _ in range(2))
    rng = np.random.default_rng(1)
    later = [sample("rreg", 32, 32, 3, rng) for _ in range(2)]
    assert (first != second).nnz == (first != later[0]).nnz == 0
    assert (later[0] != later[1]).nnz > 100


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FAMILIES), SIDES, SIDES, st.data())
def test_edges_and_densities_are_exact_in_every_family(family, n_in, n_out, data):
    edges = data.draw(st.integers(1, n_in * n_out))
    assert sample(family, n_in, n_out, seed=1, edges=edges).nnz == edges
    density = data.draw(st.floats(0.001, 1))
    assert sample(family, n_in, n_out, seed=1, density=density).nnz == max(round(density * n_in * n_out), 1)


def test_missing_sides_and_unknown_families_are_refused():
    with pytest.raises(MethodError, match="0 inputs"):
        sample("xnet", 0, 8, 3, 0)
    with pytest.raises(ConfigError, match="unknown family 'rregg'"):
        sample("rregg", 8, 8, 3, 0)


def test_best_of_many_is_the_best_expander():
    single = [sample("xnet", 64, 64, 3, seed) for seed in range(20)]
    best = [sample("xnet", 64, 64, 3, seed, candidates=30) for seed in range(20)]
    rng = numpy_generator(0, "test")
    assert np.mean([expansion(g, rng) for g in best]) > np.mean([expansion(g, rng) for g in single]) + 0.01
    assert all(graph.nnz == 192 for graph in best)


def test_the_first_candidate_is_the_single_draw():
    assert (sample("rreg", 32, 32, 3, 7) != sample("rreg", 32, 32, 3, 7, candidates=1)).nnz == 0


def test_networkx_agrees_that_the_graph_is_regular_and_connected():
    graph = nx.bipartite.from_biadjacency_matrix(sample("rreg", 128, 128, 3, 0).astype(int))
    assert nx.is_k_regular(graph, 3)
    assert nx.is_connected(graph)


@pytest.mark.parametrize("family", FAMILIES)
def test_large_graphs_take_milliseconds(family):
    def seconds(seed):
        start = time.process_time()
        sample(family, 512, 2048, 60, seed)
        return time.process_time() - start

    assert min(seconds(seed) for seed in range(3)) <= 0.2
