"""Removal: the smaller network computes what the dense one computes with those channels set to zero."""

import copy

import pytest
import torch
from torch import nn

from prunelib.channels.coupling import removed_positions
from prunelib.channels.groups import find_groups
from prunelib.channels.removal import remove_
from prunelib.errors import MethodError
from prunelib.methods.isomorphic.importance import group_scores, saliencies
from prunelib.methods.isomorphic.ranking import Ranking, Rules
from prunelib.models.attention import set_heads_
from prunelib.models.widths import channel_axis
from prunelib.seeds import generator


def chosen(model, example, ratio, only=None, **rules):
    groups, _ = find_groups(model, example)
    groups = [group for group in groups if only is None or only(group)]
    scores = group_scores(model, groups, saliencies(model, "l1"))
    ranking = Ranking(groups, scores, Rules("isomorphic", **rules), generator(0, "ties"))
    return groups, ranking.removed(ranking.counts(ratio))


def masked(model, groups, removed):
    """Return a copy of the dense model in which the removed channels give zero and are not read."""
    model = copy.deepcopy(model)
    for (name, side, axis), positions in removed_positions(groups, removed).items():
        assert axis is None
        layer = model.get_submodule(name)
        layer.weight.data.index_fill_(channel_axis(layer, side), positions, 0.0)
        if side == "out" and layer.bias is not None:
            layer.bias.data[positions] = 0.0
    return model


def pruned(model, groups, removed):
    model = copy.deepcopy(model)
    remove_(model, groups, removed)
    return model


def test_pruned_resnet_equals_masked_resnet(resnet, resnet_task):
    groups, removed = chosen(resnet, resnet_task.example, 0.5)
    small, large = pruned(resnet, groups, removed), masked(resnet, groups, removed)
    assert small.conv1.out_channels == 4 and small.stages[2][1].bn1.num_features < 32
    with torch.no_grad():
        torch.testing.assert_close(small(resnet_task.example), large(resnet_task.example), atol=1e-4, rtol=0)
        assert (resnet(resnet_task.example) - large(resnet_task.example)).abs().max() > 0.1


@pytest.mark.parametrize(("heads", "head_dims"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_pruned_vit_equals_masked_vit(vit, vit_task, heads, head_dims):
    # The embedding width is left alone: a LayerNorm over fewer channels has other statistics by definition.
    groups, removed = chosen(
        vit, vit_task.example, 0.34, lambda group: group.name != "patch_embed.proj" and "fc2" not in group.name,
        heads=heads, head_dims=head_dims,
    )  # fmt: skip
    small, large = pruned(vit, groups, removed), masked(vit, groups, removed)
    layouts = [(block.attn.num_heads, block.attn.head_dim) for block in small.blocks]
    assert sum(count for count, _ in layouts) == (5 if heads else 9)
    assert (sum(dim for _, dim in layouts) < 24) == (head_dims > 0)
    with torch.no_grad():
        torch.testing.assert_close(small(vit_task.example), large(vit_task.example), atol=1e-4, rtol=0)
        assert (vit(vit_task.example) - large(vit_task.example)).abs().max() > 0.01


def test_every_layer_keeps_the_same_embedding_channels(vit, vit_task):
    """With few channels left, torch-pruning 1.6.1 would reorder a LayerNorm's entries against all other layers'."""
    groups, removed = chosen(vit, vit_task.example, 0.9, max_ratio=0.9)
    stream = next(group for group in groups if any(member.name == "norm" for member in group.members))
    kept = sorted(set(range(24)) - set(removed[stream.name].tolist()))
    small = pruned(vit, groups, removed)
    assert len(kept) == 3
    assert torch.equal(small.norm.weight, vit.norm.weight[kept])
    assert torch.equal(small.pos_embed, vit.pos_embed[..., kept])
    assert torch.equal(small.cls_token, vit.cls_token[..., kept])
    assert torch.equal(small.head.weight, vit.head.weight[:, kept])
    assert small.norm.normalized_shape == (3,)


def test_pruning_again_and_training_work(vit, vit_task):
    for expected in (12, 6):
        groups, removed = chosen(vit, vit_task.example, 0.5)
        remove_(vit, groups, removed)
        assert vit.head.in_features == expected
    vit_task.loss(vit(vit_task.example), torch.tensor([1, 2])).backward()
    assert all(parameter.grad is not None for parameter in vit.parameters())


def test_grouped_depthwise_and_flattened_layers():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 12, 1, groups=4), nn.GroupNorm(2, 12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 5),
    )  # fmt: skip
    example = torch.randn(2, 1, 8, 8)
    groups, removed = chosen(model, example, 0.5)
    small = pruned(model, groups, removed)
    assert (small[1].groups, small[1].in_channels, small[2].in_channels) == (4, 4, 4)
    assert (small[2].out_channels, small[3].num_channels, small[7].in_features) == (4, 4, 16)
    assert small(example).shape == (2, 5)


def test_a_layout_that_does_not_fit_is_refused(vit):
    with pytest.raises(MethodError, match="2 heads of 8: qkv gives 72 channels"):
        set_heads_(vit.blocks[0].attn, 2, 8)
