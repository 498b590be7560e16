"""PHEW: exact counts, every kept kernel on a path, walks that prefer large weights and respect forks and groups."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.methods.expander.layers import graphs_of
from prunelib.methods.expander.mask import expander
from prunelib.methods.expander.network import flow
from prunelib.methods.phew import Walker, phew
from prunelib.seeds import generator, numpy_generator
from prunelib.tasks.classify import Classify
from tests.tiny import write_squares

MODELS = {
    "vgg": {"builder": "vgg", "options": {"plan": [6, "M", 16, 12, "M"], "hidden": 10}},
    "resnet": {"builder": "resnet_small", "options": {"width": 6, "blocks": 1}},
}


def find(task: Any, kind: str = "density", value: float = 0.05, **options: Any) -> Mask:
    return phew(task, {"kind": kind, "value": value}, generator(0, "search"), **options).mask


def task_of(network: nn.Module, example: Tensor) -> Any:
    return SimpleNamespace(build=lambda: network, example=example, seed=0, kind="other")


@pytest.mark.parametrize("model", MODELS)
def test_counts_are_exact_and_every_kept_weight_lies_on_a_path(tmp_path: Any, model: str) -> None:
    task = Classify(write_squares(tmp_path / "squares.h5", channels=3), MODELS[model], 0, batch_size=16)
    mask = find(task)
    assert mask.kept == int(0.05 * mask.size)
    network = task.build()
    whole = Mask({name: kept.flatten(2).any(2)[..., None, None].expand_as(kept) if kept.ndim > 2 else kept
                  for name, kept in mask.items()})  # fmt: skip
    graphs = graphs_of(whole, network)
    found = flow(graphs, network, task.example)
    for name, graph in graphs.items():
        assert found.effective[name] == graph.sum()
    assert whole.kept - mask.kept < 9  # only the last kernel is not whole


def test_a_degree_keeps_as_many_weights_as_biregular_graphs(tmp_path: Any) -> None:
    task = Classify(write_squares(tmp_path / "squares.h5", channels=3), MODELS["resnet"], 0)
    graphs = expander(task, {"kind": "degree", "value": 2.0}, generator(0, "search"), dense_first=True)
    mask = find(task, "degree", 2.0, dense_first=True)
    assert mask.kept == graphs.kept and mask["conv1.weight"].all() and mask["fc.weight"].all()


def test_steps_are_as_likely_as_kernels_are_large() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 2, bias=False), nn.ReLU(), nn.Conv2d(3, 2, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, -2.0, 5.0])[:, None, None, None].expand(3, 1, 2, 2))
        network[2].weight.copy_(torch.tensor([[1.0, 1.0, 0.0], [-3.0, 0.0, 2.0]])[..., None, None])
    walker = Walker(network, torch.zeros(1, 1, 4, 4), numpy_generator(0, "phew"))
    walks = [walker.walk() for _ in range(8000)]
    forth = Counter((walk[0][2], walk[1][2]) for walk in walks[::2])
    expected = {(0, 0): 1 / 32, (0, 1): 3 / 32, (1, 0): 2 / 8, (2, 1): 5 / 8}
    assert forth.keys() == expected.keys()
    assert all(forth[step] / 4000 == pytest.approx(share, abs=0.03) for step, share in expected.items())
    back = Counter((walk[0][2], walk[0][1]) for walk in walks[1::2])
    expected = {(0, 0): 1 / 4, (0, 1): 1 / 4, (1, 0): 3 / 10, (1, 2): 2 / 10}
    assert back.keys() == expected.keys()
    assert all(back[step] / 4000 == pytest.approx(share, abs=0.03) for step, share in expected.items())


class Forks(nn.Module):
    """A grouped convolution beside a shortcut, both concatenated with the input, flattened before a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(8, 6, 2, 2, groups=2)
        self.head = nn.Linear(6 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.up(torch.cat([self.grouped(x) + x, x], 1)).flatten(1))


def test_forks_sums_concatenation_and_groups_are_followed() -> None:
    network = Forks()
    walker = Walker(network, torch.zeros(1, 4, 2, 2), numpy_generator(0, "phew"))
    lengths: Counter[int] = Counter()
    for turn in range(4000):
        walk = walker.walk()
        walk = walk if turn % 2 == 0 else walk[::-1]
        lengths[len(walk)] += 1
        names = [name for name, _, _ in walk]
        assert names[-2:] == ["up.weight", "head.weight"]
        if len(walk) == 3:
            assert walk[0][1] // 2 == walk[0][2] // 2 and walk[0][2] == walk[1][1]
        (_, inside, outside), (_, unit, _) = walk[-2:]
        assert inside // 4 == outside // 3 and unit // 16 == outside
    assert set(lengths) == {2, 3} and lengths[3] / 4000 == pytest.approx(0.29, abs=0.04)  # (1/3 + 1/4) / 2


def test_what_can_not_be_followed_or_filled_is_refused() -> None:
    class Depends(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(MethodError, match="can't be followed"):
        Walker(Depends(), torch.zeros(1, 2), np.random.default_rng(0))
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        network[0].weight[:, 2:] = 0
    with pytest.raises(MethodError, match="found nothing new at 24 of 28"):
        find(task_of(network, torch.zeros(1, 4)), value=0.9)
