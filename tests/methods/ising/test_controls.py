"""Controls: other states on the same trained weights, which stay as they are."""

import copy

import pytest
import torch

from prunelib.methods.ising.controls import controls, random_states
from prunelib.methods.ising.counts import Kept
from prunelib.methods.ising.gates import discover
from prunelib.tasks.classify import Classify
from tests.tiny import write_squares


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    data = write_squares(tmp_path_factory.mktemp("data") / "squares.h5")
    return Classify(data, {"builder": "resnet_small", "options": {"width": 4, "blocks": 1}}, 0)


@pytest.fixture(scope="module")
def kept(task):
    model = task.build()
    return Kept(model, discover(model, task.example), task.example)


@pytest.fixture
def best(kept):
    return torch.rand(kept.units.size, generator=torch.Generator().manual_seed(3)) < 0.6


def test_random_states_shut_the_published_shares_and_one_keeps_as_much_as_the_best(kept, best):
    states = random_states(0, kept, best, 0.5)
    size = len(best)
    assert [int((~states[name]).sum()) for name in ("random25", "random50", "random75")] == [
        -(-size * percent // 100) for percent in (25, 50, 75)
    ]
    share, chance = (float(kept.fraction(state[None])[0]) for state in (best, states["random"]))
    assert share - 0.1 < chance <= share
    again, other = random_states(0, kept, best, 0.5), random_states(1, kept, best, 0.5)
    assert all(torch.equal(states[name], again[name]) for name in states)
    assert not any(torch.equal(states[name], other[name]) for name in states)


@pytest.mark.parametrize("recalibrate", [0, 2])
def test_every_row_is_whole_and_the_network_is_left_as_it_was(task, kept, best, recalibrate):
    model = task.build()
    before = copy.deepcopy(model.state_dict())
    found = controls(model, task, kept, best, 0.5, recalibrate)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()) and model.training
    rows = ("full", "random", "random25", "random50", "random75")
    scores = {f"{metric}_{row}" for row in rows for metric in ("top1", "top3", "top5", "loss")}
    counts = {f"{count}_{row}" for row in rows[1:] for count in ("density", "density_upstream")}
    assert set(found) == scores | counts
    assert found["density_random25"] > found["density_random50"] > found["density_random75"] > 0
    # shutting a quarter removes filters and, truly counted, what reads them too
    assert found["density_random25"] < found["density_upstream_random25"] < 1


def test_all_units_open_is_the_plain_network(task, kept, best):
    model = task.build()
    found = controls(model, task, kept, best, 0.5, 0)
    model.eval()
    with torch.no_grad():
        pairs = [(model(x), y) for x, y in task.fold("test", 7)]
    logits, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    assert found["top1_full"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert found["loss_full"] == pytest.approx(float(task.loss(logits, labels)), rel=1e-5)


def test_recalibrated_controls_have_norms_of_their_own(task, kept, best):
    model = task.build()
    found = controls(model, task, kept, best, 0.5, 2)
    for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for x, _ in task.batches("recalibrate", 2):
            model.train()(x)
        pairs = [(model.eval()(x), y) for x, y in task.fold("test", 7)]
    logits, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    assert found["loss_full"] == pytest.approx(float(task.loss(logits, labels)), rel=1e-5)
    assert found["loss_full"] != controls(task.build(), task, kept, best, 0.5, 0)["loss_full"]
