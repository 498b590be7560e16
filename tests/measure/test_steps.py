"""Step times: taken in turn, ratios of pairs; a training step is the one that the image loop takes."""

import copy

import torch
from torch import nn
from torch.nn import functional

from prunelib.masks.mask import Mask
from prunelib.measure.steps import Times, in_turn, training_step


def test_times_are_taken_in_turn():
    calls = []
    times = in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, warm_up=1)
    assert calls == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert len(times["a"].ms) == 3 and times["b"].median > 0


def test_a_ratio_is_the_median_over_pairs():
    own, other = Times((4.0, 9.0, 2.0)), Times((1.0, 3.0, 2.0))
    assert own.median == 4 and own.ratio(other) == 3
    assert Times((1.0, 2.0, 3.0, 4.0, 5.0)).iqr == 3


def test_a_training_step_is_one_of_adam_under_the_mask():
    torch.manual_seed(0)
    model, batch = nn.Linear(4, 2), (torch.randn(3, 4), torch.randn(3, 2))
    mask = Mask({"weight": torch.arange(8).reshape(2, 4) % 3 > 0})
    twin = copy.deepcopy(model)
    mask.apply_(model)
    mask.apply_(twin)
    training_step(model, functional.mse_loss, batch, mask)()
    adam = torch.optim.Adam(twin.parameters(), lr=1e-3)
    functional.mse_loss(twin(batch[0]), batch[1]).backward()
    adam.step()
    mask.apply_(twin)
    torch.testing.assert_close(model.weight, twin.weight)
    torch.testing.assert_close(model.bias, twin.bias)
    assert (model.weight[~mask["weight"]] == 0).all()
