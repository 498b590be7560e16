"""Whole blocks: the least important of the deep stage go, the network runs, stochastic depth is spread again."""

import pytest
import timm
import torch
from torch import nn

from prunelib.channels.groups import find_groups
from prunelib.errors import MethodError
from prunelib.methods.isomorphic.blocks import deep_stage, remove_blocks_, score_blocks
from prunelib.methods.isomorphic.importance import saliencies
from prunelib.models.blocks import drop_rates

EXAMPLE = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)


@pytest.fixture
def convnext():
    return timm.create_model("convnext_atto", num_classes=4, drop_path_rate=0.4)


def test_score_is_the_mean_over_tensors_of_mean_saliency(convnext):
    saliency = saliencies(convnext, "l1")
    scores = score_blocks(convnext, saliency)
    block = convnext.stages[2].blocks[3]
    means = [parameter.detach().double().abs().mean() for parameter in block.parameters()]
    assert len(scores) == 6
    assert scores[3] == pytest.approx(float(sum(means) / len(means)), rel=1e-6)


def test_the_best_blocks_stay_in_order(convnext):
    blocks = list(convnext.stages[2].blocks)
    path, kept = remove_blocks_(convnext, [3.0, 1.0, 5.0, 0.5, 4.0, 2.0], 3)
    assert (path, kept) == ("stages.2.blocks", [0, 2, 4])
    assert [left is blocks[index] for left, index in zip(convnext.stages[2].blocks, kept, strict=True)] == [True] * 3
    assert convnext(EXAMPLE).shape == (2, 4)
    convnext(EXAMPLE).sum().backward()
    groups, _ = find_groups(convnext, EXAMPLE)
    assert len([group for group in groups if group.name.startswith("stages.2") and "fc1" in group.name]) == 3


def test_stochastic_depth_is_spread_over_the_blocks_that_are_left(convnext):
    remove_blocks_(convnext, [3.0, 1.0, 5.0, 0.5, 4.0, 2.0], 3)
    rates = {name: rate for name, rate in drop_rates(convnext).items() if "drop_path" in name}
    assert len(rates) == 8  # of 9 blocks, of which the first has none
    assert rates["stages.0.blocks.1.drop_path"] == pytest.approx(0.4 / 8)
    assert rates["stages.2.blocks.2.drop_path"] == pytest.approx(0.4 * 6 / 8)
    assert rates["stages.3.blocks.1.drop_path"] == pytest.approx(0.4)


def test_equal_scores_keep_the_earlier_blocks(convnext):
    assert remove_blocks_(convnext, [1.0] * 6, 4)[1] == [0, 1]


def test_a_stage_keeps_a_block(convnext):
    with pytest.raises(MethodError, match=r"remove_blocks 6: stages\.2\.blocks has 6 blocks"):
        remove_blocks_(convnext, [1.0] * 6, 6)


def test_networks_without_stages_of_blocks_are_refused():
    with pytest.raises(MethodError, match="no stage of equal residual blocks"):
        deep_stage(nn.Sequential(nn.Linear(2, 2)))


def test_scores_that_are_not_finite_are_refused(convnext):
    convnext.stages[2].blocks[0].gamma.data[0] = float("nan")
    with pytest.raises(MethodError, match="not finite"):
        score_blocks(convnext, saliencies(convnext, "l1"))
