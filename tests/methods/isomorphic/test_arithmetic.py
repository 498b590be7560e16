"""Costs by arithmetic are those of the real network."""

import copy

import pytest
import torch

from prunelib.channels.groups import find_groups
from prunelib.channels.removal import remove_
from prunelib.measure.cost import macs, parameters
from prunelib.methods.isomorphic.arithmetic import Arithmetic
from prunelib.methods.isomorphic.importance import group_scores, saliencies
from prunelib.methods.isomorphic.ranking import Ranking, Rules
from prunelib.models.build import build
from prunelib.seeds import generator

NAMES = ["mobilenetv2_100", "resnext26ts", "convnext_atto", "densenet121", "regnety_002"]


def check(model, example, **rules):
    groups, _ = find_groups(model, example)
    scores = group_scores(model, groups, saliencies(model, "l2"))
    ranking = Ranking(groups, scores, Rules("isomorphic", **rules), generator(0, "ties"))
    arithmetic = Arithmetic(model, example, groups)
    removed = ranking.removed(ranking.counts(0.4))
    assert (arithmetic.macs({}), arithmetic.parameters({})) == (macs(model, example), parameters(model))
    small = copy.deepcopy(model)
    remove_(small, groups, removed)
    assert arithmetic.macs(removed) == macs(small, example) < 0.8 * macs(model, example)
    assert arithmetic.parameters(removed) == parameters(small) < 0.8 * parameters(model)


@pytest.mark.parametrize("name", NAMES)
def test_arithmetic_equals_the_counters_on_other_architectures(name):
    model = build({"builder": "timm", "options": {"name": name}}, 0, classes=10, in_channels=3)
    check(model, torch.randn(1, 3, 32, 32), round_to=8)


def test_heads_and_head_dims_and_tokens_are_counted(vit, vit_task):
    check(vit, vit_task.example, heads=1.0, head_dims=1.0)
