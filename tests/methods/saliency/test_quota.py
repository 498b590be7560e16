"""As many weights as an expander of the same degree, over the same layers; Erdos-Renyi-Kernel; Iterative SNIP."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.methods.common import as_found
from prunelib.methods.expander.layers import Layer
from prunelib.methods.expander.mask import expander
from prunelib.methods.saliency.datafree import erk, erk_counts, magnitude, random
from prunelib.methods.saliency.gradients import grasp, snip
from prunelib.methods.saliency.quota import quota, share
from prunelib.methods.saliency.synflow import synflow
from prunelib.models.build import build
from prunelib.seeds import generator
from prunelib.tasks.base import prunable
from prunelib.tasks.classify import Classify
from tests.tiny import write_squares

VGG = {"builder": "vgg", "options": {"plan": [6, "M", 16, 12, "M"], "hidden": 10, "conv_bias": False}}
RESNET = {"builder": "resnet_small", "options": {"width": 6, "blocks": 1}}
METHODS = [random, erk, magnitude, snip, grasp, synflow]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("data") / "squares.h5", channels=3)


def find(method: Any, task: Any, kind: str = "degree", value: float = 2.0, **options: Any) -> Mask:
    found = method(task, {"kind": kind, "value": value}, generator(0, "search"), **options)
    return as_found(found).mask


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("model", "dense_first"), [(VGG, False), (RESNET, True)])
@pytest.mark.parametrize("degree", [2.0, 8.0])
def test_it_keeps_as_many_weights_as_the_biregular_graphs(
    data: Path, method: Any, model: dict[str, Any], dense_first: bool, degree: float
) -> None:
    task = Classify(data, model, 0, batch_size=16)
    graphs = find(expander, task, value=degree, dense_first=dense_first)
    mask = find(method, task, value=degree, dense_first=dense_first)
    assert mask.kept == graphs.kept < mask.size
    assert list(mask) == list(graphs) == list(prunable(task.build()))
    dense = list(mask)[-1:] + (list(mask)[:1] if dense_first else [])
    assert all(mask[name].all() for name in dense)


@pytest.mark.parametrize("method", [random, snip, synflow])
def test_locally_it_keeps_as_many_in_every_layer(data: Path, method: Any) -> None:
    task = Classify(data, VGG, 0, batch_size=16)
    graphs, mask = find(expander, task), find(method, task, scope="local")
    assert [layer[2] for layer in mask.layers()] == [layer[2] for layer in graphs.layers()]


@pytest.mark.parametrize(
    ("builder", "options", "degree", "count"),
    [
        ("vgg", {"conv_bias": False}, 15, 571_008),
        ("vgg", {"conv_bias": False}, 60, 2_278_848),
        ("resnet18", {"stem": "imagenet"}, 3, 106_368),
        ("resnet50", {"stem": "imagenet"}, 15, 990_720),
    ],
)
def test_the_cards_counts_of_simple_graphs(builder: str, options: dict[str, Any], degree: int, count: int) -> None:
    with torch.device("meta"):
        model = build({"builder": builder, "options": options}, 0, classes=10, in_channels=3)
    budget = {"kind": "degree", "value": float(degree)}
    chosen, left = quota(SimpleNamespace(kind="classify"), model, budget, None, builder != "vgg")
    assert int(left.density * sum(parameter.numel() for parameter in chosen.values())) == count
    assert sum(int(left.layers[name] * parameter.numel()) for name, parameter in chosen.items()) == count


@given(st.integers(1, 10**9), st.data())
@settings(deadline=None, max_examples=200)
def test_a_share_gives_back_its_count(size: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, size))
    assert int(share(count, size) * size) == count


LAYER = st.builds(
    Layer,
    st.integers(1, 64),
    st.integers(1, 64),
    st.sampled_from([1, 1, 2, 4]),
    st.sampled_from([(), (1, 1), (3, 3), (7, 7)]),
)


@given(st.lists(LAYER, min_size=1, max_size=8), st.floats(0.001, 1.0))
@settings(deadline=None, max_examples=300)
def test_erk_is_exact_and_follows_its_formula(layers: list[Layer], density: float) -> None:
    named = {str(index): layer for index, layer in enumerate(layers)}
    total = int(density * sum(layer.size for layer in layers))
    counts = erk_counts(named, total)
    assert sum(counts.values()) == total
    assert all(0 <= counts[name] <= layer.size for name, layer in named.items())
    raw = {name: layer.groups * (layer.n_in + layer.n_out + sum(layer.sides)) for name, layer in named.items()}
    free = [name for name, layer in named.items() if counts[name] < layer.size]
    for name in free:  # one common factor, but for rounding; a full layer would get more
        for other in free:
            assert abs(counts[name] / raw[name] - counts[other] / raw[other]) <= 1 / raw[name] + 1 / raw[other]
        for full in named.keys() - set(free):
            assert counts[full] / raw[full] <= (counts[name] + 1) / raw[name] + 1 / raw[full]


def test_erk_at_a_density_gives_the_first_and_the_last_layer_most(data: Path) -> None:
    task = Classify(data, VGG, 0, batch_size=16)
    mask = find(erk, task, "density", 0.2)
    assert mask.kept == int(0.2 * mask.size)
    density = {name: kept / size for name, _, kept, size in mask.layers()}
    ordered = sorted(density, key=density.get)
    assert ordered[0] == "features.7.weight"  # 16 to 12 channels, the widest
    assert density["features.0.weight"] > 2 * density["features.7.weight"]


def test_iterative_snip_scores_what_is_left_again(linear: Any) -> None:
    linear.task.weights = 30 * linear.weights  # so that the loss feels what is gone

    def score(kept: torch.Tensor) -> torch.Tensor:
        weights = linear.task.weights * kept
        gradient = linear.gradient + linear.hessian @ (weights - linear.weights)
        return (gradient * weights).abs()

    changed = 0
    for count in range(1, 6):
        density = (count + 0.5) / 6
        kept = torch.ones(6)
        for part in (1 / 3, 2 / 3, 1):
            order = score(kept).masked_fill(kept == 0, -1).argsort(descending=True)
            kept = torch.zeros(6).index_fill_(0, order[: int(density**part * 6)], 1)
        mask = find(snip, linear.task, "density", density, rounds=3)["weight"][0]
        assert mask.sum() == count and torch.equal(mask, kept.bool())
        changed += not torch.equal(mask, find(snip, linear.task, "density", density)["weight"][0])
    assert changed > 0


@pytest.mark.parametrize(
    ("method", "kind", "options", "words"),
    [
        (random, "degree", {"fidelity": "upstream"}, "Allowed: corrected"),
        (magnitude, "degree", {"prune": "all"}, "Leave prune out"),
        (grasp, "density", {"dense_first": True}, "Leave dense_first out"),
        (erk, "density", {"dense_first": True}, "Leave dense_first out"),
        (snip, "density", {"fidelity": "upstream", "rounds": 3}, "Leave rounds out"),
        (synflow, "degree", {"prune": "all"}, "Leave prune out"),
    ],
)
def test_what_contradicts_is_refused(data: Path, method: Any, kind: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        find(method, Classify(data, VGG, 0), kind, 0.5 if kind == "density" else 2.0, **options)
