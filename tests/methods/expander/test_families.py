"""Every family over a thousand random shapes: degree sequence, simplicity, exact counts, determinism."""

import hashlib

import numpy as np
import pytest

from prunelib import registry
from prunelib.methods.expander import families, spectra
from prunelib.methods.expander.graphs import sample
from prunelib.methods.expander.spectra import degrees

SHAPES = 1000
FAMILIES = registry.names("family")
EXACT = [name for name in FAMILIES if registry.entry("family", name).facts["exact"]]
SIDES = {"inputs": lambda a, b: a, "outputs": lambda a, b: b, "larger": max, "smaller": min}


def shapes(family, count=SHAPES):
    """Draw sides (mostly small, every tiny one among them) and integer degrees, some above a side."""
    rng = np.random.default_rng(sum(family.encode()))
    sides = np.minimum(rng.geometric(0.04, (count, 2)), 96)
    sides[:9] = [(a, b) for a in (1, 2, 3) for b in (1, 2, 3)]
    return zip(sides[:, 0].tolist(), sides[:, 1].tolist(), rng.integers(1, 40, count).tolist(), strict=True)


def balanced(side):
    return side.max() - side.min() <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_every_graph_is_simple_not_empty_and_the_same_again(family, monkeypatch):
    monkeypatch.setattr(families, "TRIES", 4)  # for the time it takes; degree 1 never passes
    for index, (n_in, n_out, degree) in enumerate(shapes(family)):
        graph = sample(family, n_in, n_out, degree, index, "conv")
        again = sample(family, n_in, n_out, degree, index, "conv")
        assert graph.shape == (n_in, n_out)
        assert graph.has_canonical_format  # sorted, so no edge stands twice
        assert 1 <= graph.nnz == graph.sum(dtype=int) <= n_in * n_out
        assert np.array_equal(graph.indices, again.indices)
        assert np.array_equal(graph.indptr, again.indptr)


@pytest.mark.parametrize("family", EXACT)
def test_the_degree_fixes_the_number_of_edges_and_the_regular_sides(family, monkeypatch):
    monkeypatch.setattr(families, "TRIES", 4)
    side = SIDES[registry.entry("family", family).facts["side"]]
    for index, (n_in, n_out, degree) in enumerate(shapes(family)):
        graph = sample(family, n_in, n_out, degree, index)
        left, right = degrees(graph)
        assert graph.nnz == min(degree * side(n_in, n_out), n_in * n_out)
        if family != "random":
            regular = left if side(n_in, n_out) == n_in and family != "right_regular" else right
            assert balanced(regular)
            assert regular.max() == min(degree, n_in * n_out // regular.size)
        if family in ("rreg", "ramanujan"):
            assert balanced(left)
            assert balanced(right)


@pytest.mark.parametrize("family", EXACT)
def test_fractional_degrees_differ_by_one_at_most(family, monkeypatch):
    monkeypatch.setattr(families, "TRIES", 4)
    rng = np.random.default_rng(3)
    for n_in, n_out, _ in shapes(family, 200):
        edges = int(rng.integers(1, n_in * n_out + 1))
        left, right = degrees(sample(family, n_in, n_out, seed=rng, edges=edges))
        assert left.sum() == right.sum() == edges
        if family != "random":
            assert balanced(left) or balanced(right)


@pytest.mark.parametrize("family", ["rreg_merge", "random_pairs"])
def test_inexact_families_stay_within_their_stubs(family):
    for index, (n_in, n_out, degree) in enumerate(shapes(family)):
        larger, smaller = sorted(degrees(sample(family, n_in, n_out, degree, index)), key=len, reverse=True)
        if family == "rreg_merge":
            assert 1 <= larger.min() <= larger.max() <= degree
            assert smaller.max() <= -(-degree * larger.size // smaller.size)
        else:
            assert degree < n_out or (larger.min(), smaller.min()) == (smaller.size, larger.size)


def test_merging_keeps_the_expected_share():
    for n_in, n_out, degree in [(64, 64, 60), (512, 512, 15), (128, 512, 30)]:
        pairs, stubs = n_in * n_out, degree * max(n_in, n_out)
        mean = np.mean([sample("rreg_merge", n_in, n_out, degree, seed).nnz for seed in range(20)])
        assert mean == pytest.approx(pairs * -np.expm1(-stubs / pairs), rel=0.01)


def test_absurd_degrees_make_complete_graphs_at_once():
    for family in FAMILIES:
        assert sample(family, 12, 7, 1e12, 0).nnz == 84


def test_xnet_original_is_regular_where_there_are_fewer_channels():
    assert set(degrees(sample("xnet_original", 64, 16, 3, 0))[1]) == {3}
    assert set(degrees(sample("xnet_original", 16, 64, 3, 0))[0]) == {3}
    tie = degrees(sample("xnet_original", 64, 64, 3, 0))
    assert set(tie[0]) == {3} < set(tie[1])


def test_ramanujan_graphs_pass_where_a_graph_can():
    for seed, (n_in, n_out, degree) in enumerate([(64, 64, 3), (64, 128, 3), (512, 512, 3), (24, 100, 5)] * 5):
        graph = sample("ramanujan", n_in, n_out, degree, seed)
        values, bound = spectra.singular_values(graph), spectra.ramanujan_bound(graph)
        assert values[1] <= bound + 1e-6
    plain = [sample("rreg", 64, 64, 3, seed) for seed in range(40)]
    passing = [spectra.singular_values(graph)[1] <= spectra.ramanujan_bound(graph) for graph in plain]
    assert 0 < sum(passing) < 40  # so drawing again is what does it


def test_ramanujan_gives_up_with_its_best_graph(monkeypatch):
    monkeypatch.setattr(families, "TRIES", 3)
    matching = sample("ramanujan", 6, 6, 1, 0)
    assert matching.nnz == 6
    assert not spectra.describe(matching, np.random.default_rng(0))["ramanujan"]


# Digests of the sorted cells of one graph per family: they must be the same on every platform.
GOLDEN = {
    "ramanujan": "c0083f2016745501",
    "random": "7a7ecad9f25fef62",
    "random_pairs": "a9470abddb38cbc3",
    "right_regular": "388e801022f00a23",
    "rreg": "f8fecba56ebcc26c",
    "rreg_merge": "f7ce6e9b20598a06",
    "xnet": "185983aba0a8708e",
    "xnet_original": "7eaa6a709126e3f7",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_graphs_are_the_same_on_every_platform(family):
    graph = sample(family, 96, 160, 5, 7, "stage.conv", candidates=3)
    cells = np.flatnonzero(graph.toarray()).astype("<i8")
    assert hashlib.sha256(cells.tobytes()).hexdigest()[:16] == GOLDEN[family]
