"""The budget: MACs by arithmetic are those of the real network, and the target is met."""

import copy

import pytest
import torch

from prunelib.errors import MethodError
from prunelib.measure.cost import macs, parameters
from prunelib.methods.isomorphic.groups import find_groups
from prunelib.methods.isomorphic.importance import group_scores, saliencies
from prunelib.methods.isomorphic.ranking import Ranking, Rules
from prunelib.methods.isomorphic.removal import remove_
from prunelib.methods.isomorphic.target import Arithmetic, solve
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
    found = solve(ranking, arithmetic, fraction)
    assert found.dense_macs == macs(resnet, resnet_task.example)
    remove_(resnet, groups, found.removed)
    assert found.macs == macs(resnet, resnet_task.example)
    assert found.macs / found.dense_macs == pytest.approx(fraction, abs=0.01)


def test_vit_meets_the_target_with_all_three_knobs(vit_task):
    options = {"image_side": 8, "patch": 2, "width": 64, "depth": 3, "heads": 4}
    model = build({"builder": "vit", "options": options}, 0, classes=10, in_channels=1)
    groups, ranking, arithmetic = prepared(model, vit_task.example, heads=1.0, head_dims=0.5)
    found = solve(ranking, arithmetic, 0.5)
    assert found.dense_macs == macs(model, vit_task.example)
    remove_(model, groups, found.removed)
    assert found.macs == macs(model, vit_task.example)
    assert found.macs / found.dense_macs == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnext26ts", "convnext_atto"])
def test_arithmetic_equals_the_counter_on_other_architectures(name):
    model = build({"builder": "timm", "options": {"name": name}}, 0, classes=10, in_channels=3)
    example = torch.randn(1, 3, 32, 32)
    groups, ranking, arithmetic = prepared(model, example, round_to=8)
    removed = ranking.removed(ranking.counts(0.4))
    assert arithmetic.macs({}) == macs(model, example)
    small = copy.deepcopy(model)
    remove_(small, groups, removed)
    assert arithmetic.macs(removed) == macs(small, example)


def test_equal_scores_are_stepped_set_by_set(resnet, resnet_task):
    groups, _ = find_groups(resnet, resnet_task.example)
    scores = {group.name: torch.ones(group.size, dtype=torch.float64) for group in groups}
    ranking = Ranking(groups, scores, Rules("local"), generator(0, "ties"))
    found = solve(ranking, Arithmetic(resnet, resnet_task.example, groups), 0.5)
    assert found.macs / found.dense_macs == pytest.approx(0.5, abs=0.01)


def test_a_budget_of_one_removes_nothing(resnet, resnet_task):
    _, ranking, arithmetic = prepared(resnet, resnet_task.example)
    found = solve(ranking, arithmetic, 1.0)
    assert found.macs == found.dense_macs and all(len(ids) == 0 for ids in found.removed.values())


def test_a_budget_out_of_reach_is_refused_with_what_would_help(resnet, resnet_task):
    _, ranking, arithmetic = prepared(resnet, resnet_task.example, min_keep=0.7)
    with pytest.raises(MethodError, match=r"macs 0.2: .* still has 0\.5.*lower min_keep"):
        solve(ranking, arithmetic, 0.2)


@pytest.mark.parametrize(
    ("name", "ratio", "heads", "head_dims", "published_gmacs", "published_mparams"),
    [
        ("deit_tiny_distilled_patch16_224", 0.25, 0.3, 0.3, 0.62, 3.08),
        ("deit_small_distilled_patch16_224", 0.5, 0.5, 0.1, 1.21, 5.74),
    ],
)
def test_the_authors_ratios_give_their_published_sizes(
    name, ratio, heads, head_dims, published_gmacs, published_mparams
):
    """Table 2 and the pruning scripts; a transformer's size hardly depends on its weights, so random ones will do."""
    model = build({"builder": "timm", "options": {"name": name}}, 0, classes=1000, in_channels=3)
    example = torch.randn(1, 3, 224, 224)
    groups, ranking, arithmetic = prepared(model, example, round_to=2, heads=heads / ratio, head_dims=head_dims / ratio)
    removed = ranking.removed(ranking.counts(ratio))
    remove_(model, groups, removed)
    assert arithmetic.macs(removed) / 1e9 == pytest.approx(published_gmacs, rel=0.03)
    assert parameters(model) / 1e6 == pytest.approx(published_mparams, rel=0.01)
