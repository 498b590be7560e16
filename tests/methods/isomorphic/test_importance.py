"""Importance: sums over all coupled weights, mean 1 per group, no silent NaN."""

import pytest
import torch
from torch import nn

from prunelib.channels.groups import find_groups
from prunelib.errors import MethodError
from prunelib.methods.isomorphic.importance import group_scores, random_scores, saliencies, upstream_leaves_out
from prunelib.methods.isomorphic.statistics import Statistics, gather
from prunelib.seeds import generator


@pytest.mark.parametrize(("criterion", "power"), [("l1", 1), ("l2", 2)])
def test_a_channel_collects_everything_that_goes_with_it(criterion, power):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 1))
    nn.init.uniform_(model[1].weight)
    groups, _ = find_groups(model, torch.randn(1, 2, 8, 8))
    score = group_scores(model, groups, saliencies(model, criterion))["0"]
    first, norm, second = (layer.weight.detach().double().abs() ** power for layer in (model[0], model[1], model[3]))
    expected = first.sum((1, 2, 3)) + norm + second.sum((0, 2, 3))
    torch.testing.assert_close(score, expected / expected.mean())
    assert score.mean().item() == pytest.approx(1.0)


def test_without_normalisation_scores_are_plain_sums(resnet, resnet_task):
    groups, _ = find_groups(resnet, resnet_task.example)
    saliency = saliencies(resnet, "l1")
    plain = group_scores(resnet, groups, saliency, "none")
    relative = group_scores(resnet, groups, saliency)
    for name, score in plain.items():
        assert score.mean() > 2  # many weights per channel
        torch.testing.assert_close(score / score.mean(), relative[name])


def test_criteria_from_data(resnet, resnet_task):
    statistics = gather(resnet, resnet_task, 2)
    weight = resnet.fc.weight.detach().double()
    total, mean = statistics.sums["fc.weight"].double(), statistics.squares["fc.weight"].double() / 32
    expected = {"taylor": (weight * total).abs(), "taylor_abs_of_sum": weight * total, "fisher": weight**2 * mean}
    for criterion, values in expected.items():
        torch.testing.assert_close(saliencies(resnet, criterion, statistics)["fc.weight"], values)


def test_a_slice_sum_is_made_positive_after_the_sum():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1))
    groups, _ = find_groups(model, torch.randn(1, 1, 4, 4))
    signed = {"0.weight": torch.tensor([1.0, -2.0]).reshape(2, 1, 1, 1),
              "1.weight": torch.tensor([[-4.0, 3.0], [1.0, -3.0]])[:, :, None, None]}  # fmt: skip
    signed = {name: values.double() for name, values in signed.items()}
    assert group_scores(model, groups, signed, "none")["0"].tolist() == [1.0 + 3.0, 2.0 + 0.0]
    positive = {name: values.abs() for name, values in signed.items()}
    assert group_scores(model, groups, positive, "none")["0"].tolist() == [1.0 + 5.0, 2.0 + 6.0]


@pytest.mark.parametrize("criterion", ["taylor", "fisher"])
def test_criteria_from_data_are_refused_without_it(resnet, criterion):
    without = None if criterion == "taylor" else Statistics({}, {}, 1, 1)
    with pytest.raises(MethodError, match=f"{criterion}: needs gradient statistics"):
        saliencies(resnet, criterion, without)


@pytest.mark.parametrize(("criterion", "norm_counts"), [("taylor", False), ("l1", True)])
def test_what_the_authors_code_counts(criterion, norm_counts):
    """Convolutions and linear layers; no depth-wise ones, no bare parameters; batch norms for magnitudes only."""
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    groups, _ = find_groups(model, torch.randn(2, 1, 8, 8))
    nn.init.uniform_(model[1].weight)
    saliency = saliencies(model, "l1")
    found = group_scores(model, groups, saliency, "none", upstream_leaves_out(criterion))[groups[0].name]
    first, norm, _, last = (saliency[f"{index}.weight"] for index in range(4))
    torch.testing.assert_close(found, first.flatten() + last.sum((0, 2, 3)) + norm * norm_counts)


def test_depthwise_and_grouped_convolutions_are_counted():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 1, groups=2), nn.Conv2d(8, 2, 1)
    )
    groups, _ = find_groups(model, torch.randn(1, 1, 8, 8))
    weights = [model[index].weight.detach().double().abs() for index in range(3)]
    expected = weights[0].sum((1, 2, 3)) + weights[1].sum((1, 2, 3)) + weights[2].reshape(2, 4, 2).sum(1).flatten()
    score = group_scores(model, groups, saliencies(model, "l1"))["1"]
    torch.testing.assert_close(score, expected / expected.mean())


def test_a_group_without_information_gets_ones(resnet, resnet_task):
    groups, _ = find_groups(resnet, resnet_task.example)
    zeros = {name: torch.zeros_like(parameter) for name, parameter in resnet.named_parameters()}
    scores = group_scores(resnet, groups, saliencies(resnet, "taylor", Statistics(zeros, {}, 1, 1)))
    assert all(torch.equal(score, torch.ones_like(score)) for score in scores.values())


def test_scores_that_are_not_finite_are_refused(resnet, resnet_task):
    groups, _ = find_groups(resnet, resnet_task.example)
    resnet.conv1.weight.data[3] = float("nan")
    with pytest.raises(MethodError, match=r"not finite.*training diverge"):
        group_scores(resnet, groups, saliencies(resnet, "l1"))


def test_random_scores_follow_the_generator(resnet, resnet_task):
    groups, _ = find_groups(resnet, resnet_task.example)
    first, second, other = (random_scores(groups, generator(seed, "ties")) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["conv1"], other["conv1"])
