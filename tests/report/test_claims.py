from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.report.claims.all import CLAIMS
from prunelib.report.claims.check import Check
from prunelib.report.claims.judge import answer, decide, judge, smallest_budget, verdict
from prunelib.report.tables import read_table
from tests.report.trees import table_of

ABOVE = Check("above", "a above b", "a", "b", "top1", margin=0.01)
NOT_BELOW = replace(ABOVE, needs="not below")


def pairs(differences, **more):
    rows = []
    for seed, difference in enumerate(differences):
        rows.append({"paper": "x", "method": "a", "seed": seed, "top1": 0.5 + difference, **more})
        rows.append({"paper": "x", "method": "b", "seed": seed, "top1": 0.5, **more})
    return table_of(*rows)


@pytest.mark.parametrize(
    ("check", "differences", "outcome"),
    [
        (ABOVE, [0.03, 0.04, 0.05], "yes"),
        (ABOVE, [-0.03, -0.04, -0.05], "no"),
        (ABOVE, [0.001, 0.002, 0.0], "unclear"),  # below the margin
        (ABOVE, [0.3, -0.25, 0.0], "unclear"),  # mean 0.017 above the margin, but it scatters
        (ABOVE, [0.02, 0.05], "unclear"),  # two seeds: 2.3 standard errors, 6.3 are needed
        (ABOVE, [0.031, 0.035], "yes"),
        (ABOVE, [0.05], "no data"),
        (ABOVE, [], "no data"),
        (NOT_BELOW, [0.001, 0.0, -0.002], "yes"),
        (NOT_BELOW, [-0.01, -0.01], "unclear"),  # exactly the margin is not above it
        (NOT_BELOW, [-0.009, 0.004, -0.005], "unclear"),
        (NOT_BELOW, [-0.03, -0.03], "no"),
        (NOT_BELOW, [0.2, -0.3], "unclear"),
    ],
)
def test_the_rules_of_one_comparison(check, differences, outcome):
    assert decide(pairs(differences), check).outcome == outcome


def test_the_effect_and_both_means_are_reported():
    result = decide(pairs([0.02, 0.04]), ABOVE)
    assert (result.pairs, result.seeds) == (2, 2)
    assert result.mean == pytest.approx(0.03) and result.sd == pytest.approx(0.02 / np.sqrt(2))
    assert result.left == pytest.approx(0.53) and result.right == pytest.approx(0.5)


@given(st.lists(st.integers(-50, 50).map(lambda value: value / 100), min_size=2, max_size=6))
@settings(deadline=None, max_examples=60)
def test_swapping_the_sides_turns_yes_into_no(differences):
    there, back = decide(pairs(differences), ABOVE), decide(pairs([-value for value in differences]), ABOVE)
    assert back.outcome == {"yes": "no", "no": "yes"}.get(there.outcome, there.outcome)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8))
@settings(deadline=None, max_examples=100)
def test_what_is_above_is_never_below(seeds):
    if answer(ABOVE, seeds) == "yes":
        assert answer(NOT_BELOW, seeds) == "yes"


def test_pairs_of_one_seed_count_once():
    more = pd.concat([pairs([0.02, 0.04], task=task) for task in ("s", "t", "u")], ignore_index=True)
    result = decide(more, ABOVE)
    assert (result.pairs, result.seeds, result.test.n) == (6, 2, 2) and result.outcome == "unclear"
    assert result.runs == tuple(f"x/{task}/model/{method}/full" for task in "stu" for method in "ab")


def test_a_pattern_can_name_the_model_too():
    rows = pairs([0.03, 0.031]).assign(model=["m", "n", "m", "n"])
    result = decide(rows, replace(ABOVE, right="b@n", pair_by=("task", "seed")))
    assert result.pairs == 2 and decide(rows, replace(ABOVE, right="b@o", pair_by=("task", "seed"))).pairs == 0


def test_runs_of_another_task_model_or_seed_are_no_pair():
    rows = [
        {"paper": "x", "method": "a", "seed": 0, "top1": 0.9},
        {"paper": "x", "method": "b", "seed": 1, "top1": 0.1},
        {"paper": "x", "method": "b", "seed": 0, "task": "other", "top1": 0.1},
        {"paper": "x", "method": "b", "seed": 0, "model": "other", "top1": 0.1},
    ]
    assert decide(table_of(*rows), ABOVE).pairs == 0


def test_sides_that_are_not_equally_large_are_left_out_and_said():
    rows = pairs([0.1, 0.1, 0.1]).assign(macs_compact=[100, 100, 100, 105, 100, 150])
    result = decide(rows, replace(ABOVE, equal="macs_compact"))
    assert result.pairs == 2
    assert result.note == "1 pairs left out: macs_compact differs by more than 10 %"


def test_a_side_that_is_always_dead_loses():
    alive = [{"paper": "x", "method": "a", "seed": seed, "top1": 0.9} for seed in (0, 1)]
    dead = [{"paper": "x", "method": "b", "seed": seed, "status": "dead"} for seed in (0, 1)]
    result = decide(table_of(*alive, *dead), ABOVE)
    assert (result.outcome, result.mean, result.note) == ("yes", None, "b: 2 of 2 networks dead")
    assert decide(table_of(*alive, *dead), replace(ABOVE, left="b", right="a")).outcome == "no"
    assert decide(table_of(*alive[:1], *dead), ABOVE).outcome == "no data"


def test_a_fixed_number_can_be_the_other_side():
    rows = [{"paper": "x", "method": "a", "seed": seed, "density": 0.45 + 0.01 * seed} for seed in range(3)]
    check = Check("half", "at most half", "a", 0.5, "density", needs="not below", margin=0.05, sign=-1)
    result = decide(table_of(*rows), check)
    assert result.outcome == "yes" and result.mean == pytest.approx(0.04) and result.right == 0.5


def test_the_smallest_budget_is_taken_per_model():
    rows = [
        {"paper": "x", "method": "a", "seed": 0, "model": model, "budget": f"degree{degree}"}
        for model, degrees in (("m", (3, 8)), ("n", (15, 30)))
        for degree in degrees
    ]
    kept = smallest_budget(table_of(*rows, {"paper": "x", "method": "dense", "seed": 0}), "degree")
    assert list(kept.budget) == ["degree3", "degree15"]


def test_a_pattern_can_have_alternatives():
    rows = pairs([0.02, 0.04]).assign(model="m")
    stem = pairs([0.06, 0.08]).assign(model="n").replace({"method": {"a": "a-stem", "b": "b-stem"}})
    check = replace(ABOVE, left="a|a-stem", right="b|b-s*")
    result = decide(pd.concat([rows, stem], ignore_index=True), check)
    assert result.pairs == 4 and result.mean == pytest.approx(0.05)


def test_leaky_networks_and_peers_are_compared_with_the_strict_graphs_and_have_no_say():
    levels = {"rreg": 0.8, "xnet": 0.7, "random-graph": 0.7, "random": 0.9, "rreg-leaky": 0.95, "snip": 0.85}
    rows = [
        {"paper": "expanders", "method": method, "budget": "degree2", "seed": seed, "top1": level + 0.001 * seed * turn}
        for turn, (method, level) in enumerate(levels.items())
        for seed in (0, 1)
    ]
    (found,) = (judgement for judgement in judge(table_of(*rows)) if judgement.paper == "expanders")
    outcomes = {result.check.name: result.outcome for result in found.results}
    assert found.verdict == "holds"  # the random mask of single weights is no random graph
    assert outcomes["leaky-strict"] == "yes" and outcomes["rreg-snip"] == "no" and outcomes["rreg-erk"] == "no data"


def test_verdicts():
    def results(*outcomes, optional=()):
        return [
            replace(decide(pairs([]), ABOVE), outcome=o, check=replace(ABOVE, optional=i in optional))
            for i, o in enumerate(outcomes)
        ]

    assert verdict(results("yes", "yes")) == "holds"
    assert verdict(results("yes", "no")) == "partly"
    assert verdict(results("yes", "unclear")) == "partly"
    assert verdict(results("no", "unclear")) == "does not hold here"
    assert verdict(results("unclear", "unclear")) == "not enough data"
    assert verdict(results("yes", "no data")) == "not enough data"
    assert verdict(results("yes", "no data", optional=(1,))) == "holds"
    assert verdict(results("no data", optional=(0,))) == "not enough data"


def test_the_synthetic_tree_is_judged_as_it_was_made(tree):
    root, _ = tree
    found = {judgement.paper: judgement for judgement in judge(read_table(root / "tables" / "all_runs.csv"))}
    verdicts = {paper: judgement.verdict for paper, judgement in found.items()}
    assert verdicts == {"oes": "holds", "expanders": "holds", "isomorphic": "holds", "ising": "partly"}
    by_name = {result.check.name: result for result in found["oes"].results}
    assert by_name["above-dense"].mean == pytest.approx(2.4, abs=0.2) and by_name["above-dense"].pairs == 6
    assert by_name["above-random"].outcome == "yes" and by_name["above-random"].pairs == 0
    assert by_name["transfers"].pairs == 3
    refused = [result.check.name for result in found["ising"].results if result.outcome == "no"]
    assert refused == ["ising-magnitude", "margin-magnitude"]


@pytest.mark.parametrize(("low", "high"), [("gumbel", "dense"), ("gumbel", "snip")])
def test_a_claim_that_fails_is_not_called_holding(tree, low, high):
    root, _ = tree
    runs = read_table(root / "tables" / "all_runs.csv")
    runs["method"] = runs.method.where(
        runs.paper != "oes", runs.method.map(lambda name: {low: high, high: low}.get(name, name))
    )
    runs["budget"] = runs.budget.where(~runs.method.isin([low]), "density0.1")
    assert judge(runs)[0].verdict != "holds"


@pytest.mark.parametrize("paper", CLAIMS)
def test_no_runs_no_verdict(paper, tree):
    root, _ = tree
    runs = read_table(root / "tables" / "all_runs.csv")
    found = {judgement.paper: judgement.verdict for judgement in judge(runs[runs.paper != paper])}
    assert found[paper] == "not enough data"


def test_every_check_has_a_name_of_its_own_and_one_headline_at_least():
    for checks in CLAIMS.values():
        assert len({check.name for check in checks}) == len(checks)
        assert any(check.headline for check in checks) and not all(check.optional for check in checks)
