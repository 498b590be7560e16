import math

import pytest

from prunelib.report.words import (
    METHODS,
    budget_name,
    colour,
    duration,
    method_name,
    method_order,
    metric_order,
    number,
    shown,
)


@pytest.mark.parametrize(
    ("value", "decimals", "signed", "text"),
    [
        (1072000, 0, False, "1\u202f072\u202f000"),
        (-2.5, 1, True, "\u22122.5"),
        (2.5, 2, True, "+2.50"),
        (None, 2, False, "\u2013"),
        (math.nan, 2, False, "\u2013"),
    ],
)
def test_numbers(value, decimals, signed, text):
    assert number(value, decimals, signed) == text


def test_a_metric_is_shown_in_its_own_unit():
    assert shown("top1", 0.9512, 0.0049) == "95.1 ± 0.5"
    assert shown("psnr_final", 25.306, 0.118) == "25.31 ± 0.12"
    assert shown("top1", 0.9512, math.nan) == "95.1"
    assert shown("top1", 0.9512, 0.0004) == "95.1"  # a spread below the last digit says nothing
    assert shown("macs", 61_440_000) == "61.44"
    assert shown("psnr_final", None) == "\u2013"
    assert shown("new_metric", 0.5) == "0.5000"


def test_methods_are_named_for_a_reader():
    assert method_name("gumbel") == "OES"
    assert method_name("gumbel-from-coffee") == "OES, mask from coffee"
    assert method_name("dense", "decoder-k5") == "Deep decoder"
    assert method_name("random_graph") == method_name("random-graph") == "Random graph"
    assert method_name("imp-80") == "IMP, cuts of 80 %"
    assert method_name("sgld") == "SGLD"
    assert method_name("synflow-local-upstream") == "SynFlow, per layer, authors' code"
    assert method_name("magnitude-repaired") == "Magnitude, repaired"
    assert method_name("gumbel-80k") == "OES, 80\u202f000 steps"
    assert method_name("gumbel-new-idea") == "OES, new-idea"
    assert method_name("brand-new") == "brand new"


def test_variants_stand_beside_their_method_and_unknown_ones_last():
    labels = ["zzz", "imp-80", "gumbel-from-x", "imp", "gumbel", "dense"]
    assert sorted(labels, key=method_order) == ["dense", "gumbel", "gumbel-from-x", "imp", "imp-80", "zzz"]


def test_known_metrics_come_first():
    assert metric_order({"zeta", "top1", "psnr_final", "alpha"}) == ["psnr_final", "top1", "alpha", "zeta"]


def test_every_method_has_a_colour_and_neighbours_differ():
    for group in (
        ("rreg", "xnet", "random-graph", "dense"),
        ("isomorphic", "global", "local"),
        ("ising", "margin", "trained_magnitude"),
    ):
        assert len({colour(label) for label in group}) == len(group)
    assert len({colour(label, "", ("p", "q", "r")) for label in ("p", "q", "r")}) == 3
    assert all(colour(label).startswith("#") for label in METHODS)


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("full", "full"),
        ("density0.05", "density 5 %"),
        ("macs0.5", "50 % MACs"),
        ("degree3", "degree 3"),
        ("density0.4642", "density 46.42 %"),
    ],
)
def test_budgets(label, text):
    assert budget_name(label) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (12.4, "12 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
        (None, "\u2013"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
