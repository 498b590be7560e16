"""SynFlow: scores known by hand, the conservation law, no collapse where one shot collapses, no look at data."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from prunelib.methods.saliency.synflow import linearised, synflow
from prunelib.models.deep_decoder import deep_decoder
from prunelib.seeds import generator
from prunelib.tasks.base import alive
from tests.picture import denoise, write_picture


def chain(*widths, seed=0):
    """A task of linear layers without biases."""

    def build():
        torch.manual_seed(seed)
        pairs = pairwise(widths)
        return nn.Sequential(*(nn.Linear(inside, outside, bias=False) for inside, outside in pairs))

    return SimpleNamespace(build=build, example=torch.zeros(2, widths[0]), seed=seed)


def find(task, density, **options):
    return synflow(task, {"kind": "density", "value": density}, generator(0, "search"), **options).mask


def test_one_round_ranks_by_the_paths_through_a_weight():
    task = chain(3, 4, 2)
    first, second = (layer.weight.detach().abs() for layer in task.build())
    scores = torch.cat([(first * second.sum(0)[:, None]).flatten(), (second * first.sum(1)).flatten()])
    mask = find(task, 0.5, rounds=1)
    kept = torch.cat([mask["0.weight"].flatten(), mask["1.weight"].flatten()])
    assert kept.sum() == 10 and scores[kept].min() > scores[~kept].max()


def test_every_layer_carries_the_same_flow():
    network = linearised(deep_decoder(width=5, k=2))
    output = network(torch.ones(1, 5, 3, 3, dtype=torch.float64)).sum()
    weights = [parameter for parameter in network.parameters() if parameter.dim() == 4]
    slopes = torch.autograd.grad(output, weights)
    flows = [(slope * weight).sum().item() for slope, weight in zip(slopes, weights, strict=True)]
    assert flows == pytest.approx([output.item()] * 4, rel=1e-12)


def test_rounds_avoid_the_collapse_of_one_shot():
    task = chain(20, 200, 20, 200, 3)
    few = 30 / sum(layer.weight.numel() for layer in task.build())
    once, often = find(task, few, rounds=1), find(task, few, rounds=100)
    assert once.kept == often.kept == 30
    assert min(kept for _, _, kept, _ in once.layers()) == 0
    assert min(kept for _, _, kept, _ in often.layers()) > 0


def test_what_is_pruned_never_comes_back_and_counts_are_exact(tmp_path):
    task = denoise(write_picture(tmp_path / "picture.h5"))
    for prune in ("weights", "all"):
        mask = find(task, 0.1, rounds=20, prune=prune)
        assert mask.kept == int(0.1 * mask.size)
        assert alive(task, task.build(), mask).alive
    local = find(task, 0.1, rounds=5, scope="local")
    assert all(kept == int(0.1 * size) for _, _, kept, size in local.layers())


def test_no_data_is_seen(tmp_path):
    task = denoise(write_picture(tmp_path / "picture.h5"))
    other = denoise(write_picture(tmp_path / "other.h5", 24, 48))
    other.example = task.example
    first, second = find(task, 0.2, rounds=5), find(other, 0.2, rounds=5)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_linearised_is_linear_positive_and_keeps_the_names():
    model = deep_decoder(width=4, k=1)
    network = linearised(model)
    assert [name for name, _ in network.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert all((parameter >= 0).all() and parameter.dtype == torch.float64 for parameter in network.parameters())
    x = torch.rand(1, 4, 3, 3, dtype=torch.float64)
    assert torch.allclose(network(3 * x), 3 * network(x), rtol=1e-12)
    assert (network(x) > 0).all()


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm2d(4), (2, 4, 3, 3)),
        (nn.GroupNorm(2, 4), (2, 4, 5)),
        (nn.LayerNorm(4), (2, 3, 4)),
        (nn.InstanceNorm2d(4), (2, 4, 3, 3)),
    ],
)
def test_a_norm_becomes_its_affine_part(norm, shape):
    if norm.weight is not None:
        nn.init.constant_(norm.weight, -2.0)
        nn.init.constant_(norm.bias, -0.5)
    x = torch.rand(shape, dtype=torch.float64)
    scale, shift = (2.0, 0.5) if norm.weight is not None else (1.0, 0.0)
    assert torch.allclose(linearised(nn.Sequential(norm))(x), scale * x + shift)
