"""Splits: exact counts, stratified, deterministic, disjoint, and the rules for data that bring their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.data.splits import assign, check, hold_out
from prunelib.errors import DataError
from prunelib.seeds import numpy_generator


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=8), st.floats(0, 0.9), st.integers(0, 2**31))
def test_held_out_images_are_disjoint_stratified_and_as_many_as_asked(sizes, share, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    pool = np.arange(len(labels))
    kept, held = hold_out(labels, pool, share, numpy_generator(seed, "split", "val"))
    assert np.array_equal(np.sort(np.concatenate([kept, held])), pool)
    assert np.array_equal(kept, np.sort(kept)) and np.array_equal(held, np.sort(held))
    for label, size in enumerate(sizes):
        drawn = int((labels[held] == label).sum())
        assert abs(drawn - size * share) <= 1 and drawn < size
    possible = sum(min(int(np.floor(size * share)) + 1, size - 1) if size > 1 else 0 for size in sizes)
    assert len(held) == min(round(sum(sizes) * share), possible)


def test_the_draw_depends_on_seed_and_purpose_alone():
    labels = np.repeat(np.arange(10), 20)
    everything = {"train": np.arange(200)}
    first, again = (assign(labels, everything, 3, 0.25, 0.5, "x") for _ in range(2))
    other = assign(labels, everything, 4, 0.25, 0.5, "x")
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["test"], other["test"])
    assert {name: len(index) for name, index in first.items()} == {"train": 75, "val": 25, "test": 100}
    other_val = assign(labels, everything, 3, 0.1, 0.5, "x")
    assert np.array_equal(first["test"], other_val["test"])  # the test set does not move when validation changes


def test_a_test_set_that_comes_with_the_data_is_taken_as_it_is():
    labels = np.tile(np.arange(4), 10)
    given_sets = {"train": np.arange(30), "test": np.arange(30, 40)}
    found = assign(labels, given_sets, 0, None, None, "x")
    assert np.array_equal(found["test"], np.arange(30, 40)) and len(found["val"]) == 3
    with pytest.raises(DataError, match=r"test_share = 0\.5, but there is a test set already"):
        assign(labels, given_sets, 0, None, 0.5, "x")


def test_a_val_set_without_a_test_set_is_the_test_set_and_is_never_selected_on():
    labels = np.tile(np.arange(4), 10)
    found = assign(labels, {"train": np.arange(30), "val": np.arange(30, 40)}, 0, 0.2, None, "x")
    assert np.array_equal(found["test"], np.arange(30, 40)) and len(found["val"]) == 6
    assert found["val"].max() < 30


def test_three_given_sets_are_kept_and_shares_refused():
    labels = np.tile(np.arange(2), 6)
    sets = {"train": np.arange(4), "val": np.arange(4, 8), "test": np.arange(8, 12)}
    found = assign(labels, sets, 0, None, None, "x")
    assert all(np.array_equal(found[name], sets[name]) for name in sets)
    with pytest.raises(DataError, match="val_share"):
        assign(labels, sets, 0, 0.1, None, "x")


def test_a_share_of_nothing_holds_out_nothing():
    found = assign(np.tile(np.arange(2), 6), {"train": np.arange(12)}, 0, 0.0, 0.0, "x")
    assert [len(found[name]) for name in ("train", "val", "test")] == [12, 0, 0]


def test_overlap_gaps_and_missing_classes_are_refused():
    labels = np.array([0, 0, 1, 1])
    empty = np.arange(0)
    with pytest.raises(DataError, match="exactly once"):
        check({"train": np.array([0, 1, 2, 3]), "val": np.array([3]), "test": empty}, labels, "x")
    with pytest.raises(DataError, match="exactly once"):
        check({"train": np.array([0, 2, 3]), "val": empty, "test": empty}, labels, "x")
    with pytest.raises(DataError, match="no training image of class 1"):
        check({"train": np.array([0, 1]), "val": np.array([2]), "test": np.array([3])}, labels, "x")
