"""The budget: the target is met, in every mode, by a network that really costs so much, or refused."""

import pytest
import torch

from prunelib.channels.groups import find_groups
from prunelib.channels.removal import remove_
from prunelib.errors import MethodError
from prunelib.measure.cost import macs, parameters
from prunelib.methods.isomorphic.arithmetic import Arithmetic
from prunelib.methods.isomorphic.importance import group_scores, saliencies
from prunelib.methods.isomorphic.ranking import Ranking, Rules
from prunelib.methods.isomorphic.target import Target, bisect_measured, solve
from prunelib.models.build import build
from prunelib.seeds import generator


def prepared(model, example, **rules):
    groups, _ = find_groups(model, example)
    scores = group_scores(model, groups, saliencies(model, "l2"))
    ranking = Ranking(groups, scores, Rules(**{"mode": "isomorphic", **rules}), generator(0, "ties"))
    return groups, ranking, Arithmetic(model, example, groups)


@pytest.mark.parametrize("mode", ["isomorphic", "global", "local"])
@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.8])
def test_resnet_meets_the_target(resnet, resnet_task, mode, fraction):
    groups, ranking, arithmetic = prepared(resnet, resnet_task.example, mode=mode)
    dense = arithmetic.macs({})
    found = solve(ranking, arithmetic.macs, fraction * dense)
    assert dense == macs(resnet, resnet_task.example)
    remove_(resnet, groups, found.removed)
    assert found.cost == macs(resnet, resnet_task.example)
    assert found.cost == pytest.approx(fraction * dense, rel=0.01)


def test_vit_meets_the_target_with_all_three_knobs(vit_task):
    options = {"image_side": 8, "patch": 2, "width": 64, "depth": 3, "heads": 4}
    model = build({"builder": "vit", "options": options}, 0, classes=10, in_channels=1)
    groups, ranking, arithmetic = prepared(model, vit_task.example, heads=1.0, head_dims=0.5)
    dense = arithmetic.macs({})
    found = solve(ranking, arithmetic.macs, 0.5 * dense)
    assert dense == macs(model, vit_task.example)
    remove_(model, groups, found.removed)
    assert found.cost == macs(model, vit_task.example)
    assert found.cost == pytest.approx(0.5 * dense, rel=0.01)


def test_equal_scores_are_stepped_set_by_set(resnet, resnet_task):
    groups, _ = find_groups(resnet, resnet_task.example)
    scores = {group.name: torch.ones(group.size, dtype=torch.float64) for group in groups}
    ranking = Ranking(groups, scores, Rules("local"), generator(0, "ties"))
    arithmetic = Arithmetic(resnet, resnet_task.example, groups)
    found = solve(ranking, arithmetic.macs, 0.5 * arithmetic.macs({}))
    assert found.cost == pytest.approx(0.5 * arithmetic.macs({}), rel=0.01)


@pytest.mark.parametrize("fraction", [0.2, 0.6])
def test_parameters_are_a_target_too(resnet, resnet_task, fraction):
    groups, ranking, arithmetic = prepared(resnet, resnet_task.example)
    found = solve(ranking, arithmetic.parameters, fraction * parameters(resnet))
    remove_(resnet, groups, found.removed)
    assert found.cost == parameters(resnet)
    assert found.cost == pytest.approx(fraction * arithmetic.parameters({}), rel=0.01)


def test_uniform_keeps_all_groups_to_one_ratio(resnet, resnet_task):
    groups, ranking, arithmetic = prepared(resnet, resnet_task.example, mode="uniform")
    found = solve(ranking, arithmetic.macs, 0.5 * arithmetic.macs({}))
    shares = [1 - len(found.removed[group.name]) / group.size for group in groups]
    assert max(shares) - min(shares) <= 1 / 8  # one channel of the narrowest group
    assert found.steps in (ranking.counts(found.ratio), ranking.counts(found.ratio - 1e-9))


def test_a_budget_of_one_removes_nothing(resnet, resnet_task):
    _, ranking, arithmetic = prepared(resnet, resnet_task.example)
    found = solve(ranking, arithmetic.macs, arithmetic.macs({}))
    assert found.cost == arithmetic.macs({}) and all(len(ids) == 0 for ids in found.removed.values())


def test_a_budget_out_of_reach_is_refused_with_what_would_help(resnet, resnet_task):
    _, ranking, arithmetic = prepared(resnet, resnet_task.example, max_ratio=0.3)
    with pytest.raises(MethodError, match=r"still has 0\.5.* cost, 0.200 is asked for; lower min_keep"):
        solve(ranking, arithmetic.macs, 0.2 * arithmetic.macs({}))


def test_budgets_are_targets():
    assert Target.of({"kind": "macs", "value": 0.5}).amount(400) == 200
    assert Target.of({"kind": "gmacs", "value": 2.0}).amount(4.1e9) == 2.0e9
    assert Target.of({"kind": "parameters", "value": 1.0}).amount(7) == 7
    with pytest.raises(MethodError, match=r"macs 4e\+09: the dense network has 2e\+09 macs only"):
        Target.of({"kind": "gmacs", "value": 4.0}).amount(2e9)


@pytest.mark.parametrize("wanted", [0.3, 0.55, 0.9])
def test_measured_costs_are_bisected(resnet, resnet_task, wanted):
    """A clock that tells MACs: what is solved for is what it says, and every network is timed a few times only."""
    _, ranking, arithmetic = prepared(resnet, resnet_task.example)
    asked = []

    def clock(removed):
        asked.append(arithmetic.macs(removed) / arithmetic.macs({}))
        return asked[-1]

    found = bisect_measured(ranking, clock, wanted)
    assert found.cost == pytest.approx(wanted, rel=0.03) and found.cost in asked and len(asked) == 13


def test_a_latency_out_of_reach_is_refused(resnet, resnet_task):
    _, ranking, _ = prepared(resnet, resnet_task.example)
    with pytest.raises(MethodError, match=r"takes 2.00 times the latency asked for"):
        bisect_measured(ranking, lambda removed: 0.8, 0.4)
