"""The stopping rules: variance as defined, the first lasting minimum is taken, state is complete."""

import numpy as np
import pytest
import torch

from prunelib.training.stopping import MovingVariance, discrepancy

CPU = torch.device("cpu")


def watch(outputs, window=3, patience=100):
    rule = MovingVariance(window, patience)
    return rule, [rule.add(output) for output in outputs]


def flat(heights):
    """Even outputs: with a window of 2 the variance is a quarter of the squared difference of two heights."""
    return [torch.full((1, 3, 2, 2), height) for height in heights]


def test_variance_is_the_mean_squared_distance_from_the_windows_mean():
    outputs = torch.rand(5, 1, 3, 4, 6)
    _, found = watch(outputs)
    stacked = outputs.double().numpy()
    expected = [np.var(stacked[end - 3 : end], axis=0).sum() / 72 for end in (3, 4, 5)]
    assert found[:2] == [None, None] and found[2:] == pytest.approx(expected, rel=1e-5)


def test_it_takes_the_newest_output_of_the_window_that_varies_least():
    rule, variances = watch(flat([0.0, 0.8, 1.0, 0.9, 0.2]), window=2)
    assert variances[1:] == pytest.approx([0.16, 0.01, 0.0025, 0.1225])
    assert rule.index == 3 and (rule.image == 0.9).all()


@pytest.mark.parametrize(("patience", "index"), [(1, 3), (2, 3), (3, 6), (100, 6)])
def test_a_choice_stands_after_patience_outputs_without_a_lower_variance(patience, index):
    rule, _ = watch(flat([0.0, 0.8, 1.0, 0.9, 0.2, 0.7, 0.69]), window=2, patience=patience)
    assert rule.index == index


def test_fewer_outputs_than_the_window_choose_nothing():
    rule, variances = watch(flat([0.0, 0.5]))
    assert variances == [None, None] and rule.index is None and rule.image is None


def test_a_restored_rule_goes_on_as_if_nothing_had_happened():
    outputs = torch.rand(12, 1, 3, 4, 6)
    whole, expected = watch(outputs)
    first, before = watch(outputs[:5])
    second = MovingVariance(3)
    second.restore(first.state(), CPU)
    after = [second.add(output) for output in outputs[5:]]
    assert before + after == expected and second.index == whole.index and torch.equal(second.image, whole.image)


def test_discrepancy_is_the_first_loss_down_to_the_variance():
    losses = [0.05, 0.011, 0.0099, 0.02, 0.001]
    assert discrepancy(losses, 0.1) == 2
    assert discrepancy(losses, 0.01) is None
