"""SNIP and GraSP against a problem whose gradient and Hessian are known, with the sign of the GraSP paper."""

from itertools import pairwise

import pytest
import torch

from prunelib.methods.saliency.gradients import grasp, snip
from prunelib.seeds import generator
from prunelib.tasks.base import alive
from prunelib.tasks.classify import Classify
from tests.picture import denoise, write_picture
from tests.tiny import LEARNS_FAST, write_squares


def find(method, task, density, **options):
    return method(task, {"kind": "density", "value": density}, generator(0, "search"), **options).mask


def ranked(method, task, **options):
    """Return the weights in the order in which the method would give them up, first to go first."""
    masks = [find(method, task, kept / 6 + 1e-9, **options)["weight"][0] for kept in range(7)]
    return [int((more.int() - less.int()).argmax()) for less, more in reversed(list(pairwise(masks)))]


def test_snip_ranks_by_gradient_times_weight(linear):
    expected = (linear.gradient * linear.weights).abs().argsort().tolist()
    assert ranked(snip, linear.task) == expected


def test_grasp_gives_up_the_highest_minus_w_h_g_first(linear):
    scores = -linear.weights * (linear.hessian @ linear.gradient)
    assert ranked(grasp, linear.task) == scores.argsort(descending=True).tolist()


def test_grasp_gives_up_what_costs_least_gradient_flow(linear):
    flow = linear.gradient @ linear.gradient
    changes = []
    for index in range(6):
        without = linear.weights.clone()
        without[index] = 0
        gradient = linear.gradient + linear.hessian @ (without - linear.weights)
        changes.append((gradient @ gradient - flow).item())
    order = ranked(grasp, linear.task)
    assert order[0] == max(range(6), key=lambda i: changes[i])
    assert order[-1] == min(range(6), key=lambda i: changes[i])


@pytest.mark.parametrize("method", [snip, grasp])
def test_several_batches_count_as_their_mean(linear, method):
    assert ranked(method, linear.task, batches=4) == ranked(method, linear.task)


@pytest.mark.parametrize("method", [snip, grasp])
@pytest.mark.parametrize("prune", ["weights", "all"])
def test_counts_are_exact_on_an_untrained_generator(tmp_path, method, prune):
    task = denoise(write_picture(tmp_path / "picture.h5"))
    mask = find(method, task, 0.3, prune=prune)
    assert mask.kept == int(0.3 * mask.size)
    local = find(method, task, 0.3, prune=prune, scope="local")
    assert all(kept == int(0.3 * size) for _, _, kept, size in local.layers())
    if prune == "weights":
        assert alive(task, task.build(), mask).alive


@pytest.mark.parametrize("method", [snip, grasp])
def test_a_classifier_is_scored_over_batches_of_its_own_size(tmp_path, method):
    task = Classify(write_squares(tmp_path / "squares.h5"), LEARNS_FAST, 0, batch_size=16)
    first, more = (find(method, task, 0.5, batches=batches) for batches in (1, 3))
    assert first.kept == more.kept == int(0.5 * more.size)
    assert any(not torch.equal(first[name], more[name]) for name in more)
