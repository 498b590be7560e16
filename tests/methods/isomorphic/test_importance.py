"""Importance: sums over all coupled weights, mean 1 per group, no silent NaN."""

import pytest
import torch
from torch import nn

from prunelib.errors import MethodError
from prunelib.methods.isomorphic.groups import find_groups
from prunelib.methods.isomorphic.importance import gradients, group_scores, random_scores, saliencies
from prunelib.seeds import generator


def test_gradients_are_summed_over_batches(resnet, resnet_task):
    found = gradients(resnet, resnet_task, 3)
    resnet.zero_grad()
    for inputs, targets in resnet_task.batches("taylor", 3):
        resnet_task.loss(resnet(inputs), targets).backward()  # accumulates, as the authors' code does
    assert not resnet.training
    for name, parameter in resnet.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


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


def test_taylor_is_weight_times_gradient(resnet, resnet_task):
    slopes = gradients(resnet, resnet_task, 1)
    found = saliencies(resnet, "taylor", slopes)["fc.weight"]
    torch.testing.assert_close(found, (resnet.fc.weight.double() * slopes["fc.weight"].double()).abs().detach())


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
    slopes = {name: torch.zeros_like(parameter) for name, parameter in resnet.named_parameters()}
    scores = group_scores(resnet, groups, saliencies(resnet, "taylor", slopes))
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
