"""Groups, their isomorphic sets (the fact card's table of real architectures) and what stays fixed."""

from collections import Counter

import pytest
import torch
from torch import nn

from prunelib.channels.coupling import removed_positions
from prunelib.channels.groups import find_groups
from prunelib.models.build import build

# (groups, total channels) of every isomorphic set, in any order; measured with torch-pruning's own isomorphic mode
TABLE = {
    "resnet50": (64, [(1, 64), (1, 256), (1, 512), (1, 1024), (1, 2048), (32, 7552)]),
    "deit_tiny_distilled_patch16_224": (224, [(1, 192), (12, 9216), (12, 2304)]),
    "convnext_tiny": (64, [(1, 96), (1, 192), (1, 384), (1, 768), (18, 26496)]),
    # attention apart in the last stage, with shifted windows and without; their masks and rolls differ
    "swin_tiny_patch4_window7_224": (
        224,
        [(1, 96), (1, 192), (1, 384), (1, 768), (12, 17664), (2, 1536), (5, 1440), (5, 1440)],
    ),
    # residual streams by length, projections without one, the last convolution, what depth-wise ones stand between
    "mobilenetv2_100": (64, [(1, 24), (1, 64), (1, 1280), (2, 336), (3, 288), (17, 7136)]),
}


def sets(groups):
    count, channels = Counter(), Counter()
    for group in groups:
        count[group.signature] += 1
        channels[group.signature] += group.size
    return sorted((count[key], channels[key]) for key in count)


@pytest.mark.parametrize("name", TABLE)
def test_isomorphic_sets_of_real_architectures(name):
    side, expected = TABLE[name]
    model = build({"builder": "timm", "options": {"name": name}}, 0, classes=1000, in_channels=3)
    groups, fixed = find_groups(model, torch.randn(1, 3, side, side))
    assert sets(groups) == sorted(expected)
    assert {found.why for found in fixed} == {"holds the model's outputs"}


def test_small_residual_network(resnet, resnet_task):
    groups, fixed = find_groups(resnet, resnet_task.example)
    inner = [group for group in groups if group.name.endswith("conv1") and group.name != "conv1"]
    assert len(groups) == 9 and len(inner) == 6
    assert len({group.signature for group in inner}) == 1
    assert sum(group.size for group in groups) == 2 * (8 + 16 + 32) + 8 + 16 + 32
    assert [(found.name, found.size) for found in fixed] == [("fc", 10)]


def test_attention_is_rooted_at_its_projection(vit, vit_task):
    groups, _ = find_groups(vit, vit_task.example)
    attention = [group for group in groups if group.attention]
    assert [group.attention.name for group in attention] == [f"blocks.{index}.attn" for index in (2, 1, 0)]
    first = attention[0]
    assert (first.size, first.blocks, first.attention.head_dim) == (24, 3, 8)
    lost = removed_positions(groups, {first.name: torch.tensor([1, 23])})
    assert lost["blocks.2.attn.qkv", "out", None].tolist() == [1, 23, 25, 47, 49, 71]
    assert lost["blocks.2.attn.proj", "in", None].tolist() == [1, 23]


@pytest.mark.parametrize("classes", [2, 7, 1000])
@pytest.mark.parametrize("builder", ["resnet_small", "vit"])
def test_any_classifier_is_protected(builder, classes):
    options = {"image_side": 8} if builder == "vit" else {}
    model = build({"builder": builder, "options": options}, 0, classes=classes, in_channels=1)
    groups, fixed = find_groups(model, torch.randn(1, 1, 8, 8))
    assert [(found.size, found.why) for found in fixed] == [(classes, "holds the model's outputs")]
    assert len(groups) > 5


def test_two_searches_are_independent_and_equal(resnet, resnet_task):
    first, second = (find_groups(resnet, resnet_task.example)[0] for _ in range(2))
    assert [(group.name, group.signature) for group in first] == [(group.name, group.signature) for group in second]


def test_groups_that_cannot_be_cut_are_listed_with_the_reason():
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.PReLU(6), nn.Conv2d(6, 1, 1), nn.Conv2d(1, 4, 1), nn.LayerNorm([4, 6, 6]),
        nn.Conv2d(4, 2, 1),
    )  # fmt: skip
    groups, fixed = find_groups(model, torch.randn(1, 1, 8, 8))
    assert groups == []
    assert {found.name: found.why for found in fixed} == {
        "0": "contains a PReLU, whose channels can't be cut",
        "2": "has a single channel",
        "3": "contains a LayerNorm over several axes",
        "5": "holds the model's outputs",
    }
