"""Plug-ins: Swin, BEiT, torchvision's transformers and other families lose channels and compute what masks would."""

import copy

import pytest
import timm
import torch
from torch import nn
from torchvision.models import VisionTransformer

from benchmarks.timm_support import fresh, halved
from prunelib.channels.coupling import layout_after, removed_positions
from prunelib.channels.groups import find_groups
from prunelib.channels.removal import remove_
from prunelib.models.attention import attentions
from prunelib.models.widths import channel_axis
from prunelib.seeds import generator

SWIN = {"img_size": 16, "patch_size": 2, "window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}
SMALL = {
    "swin": lambda: timm.models.SwinTransformer(num_classes=5, **SWIN),
    "swin v2": lambda: timm.models.SwinTransformerV2(num_classes=5, **SWIN),
    "beit": lambda: timm.models.Beit(
        img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=3, num_classes=5, use_rel_pos_bias=True,
        init_values=0.1,
    ),
    "deit distilled": lambda: timm.models.VisionTransformerDistilled(
        img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=3, num_classes=5
    ),
    "convnext": lambda: timm.create_model("convnext_atto", num_classes=5, depths=(1, 1, 2, 1), dims=(8, 16, 24, 32)),
    "mobilenet": lambda: timm.create_model("mobilenetv2_035", num_classes=5),
    "efficientnet": lambda: timm.create_model("efficientnet_lite0", num_classes=5),
    "regnet": lambda: timm.create_model("regnety_002", num_classes=5),
    "ghostnet": lambda: timm.create_model("ghostnet_050", num_classes=5),
}  # fmt: skip
TIED = {"swin v2", "beit"}  # their attention puts out as many channels as it takes in, so that only MLPs shrink
NORMALISED = {"swin", "swin v2", "beit", "deit distilled", "convnext"}  # their streams pass LayerNorms


def example(side=16):
    return torch.randn(2, 3, side, side, generator=generator(0, "images"))


def trained_looking(name):
    model, random = SMALL[name](), generator(0, "unlike")
    for tensor in [*model.parameters(), *(buffer for buffer in model.buffers() if buffer.is_floating_point())]:
        if tensor.dim() == 1:
            tensor.data = torch.rand(tensor.shape, generator=random) + 0.5
    return model.double().eval()


def third(group):
    """Remove a third of every run's channels, and one head."""
    table = torch.zeros(group.blocks, group.size // group.blocks, dtype=torch.bool)
    table[:, : max(1, table.shape[1] // 3)] = table.shape[1] > 1
    if group.attention is not None:
        table[0] = True
    return table.flatten().nonzero().flatten()


def masked(model, groups, removed):
    """Return a copy in which the removed channels give zero and are not read; heads keep their temperature."""
    model = copy.deepcopy(model)
    for (name, side, axis), positions in removed_positions(groups, removed).items():
        if axis is not None:
            path, _, attribute = name.rpartition(".")
            getattr(model.get_submodule(path), attribute).data.index_fill_(axis, positions, 0.0)
            continue
        layer = model.get_submodule(name)
        if side == "in" and isinstance(layer, nn.Conv2d) and layer.groups > 1:
            continue  # what it reads is zero already
        layer.weight.data.index_fill_(channel_axis(layer, side), positions, 0.0)
        if side == "out" and layer.bias is not None:
            layer.bias.data[positions] = 0.0
    return model


@pytest.mark.parametrize("name", SMALL)
def test_pruned_equals_masked(name):
    model = trained_looking(name)
    side = 16 if name in ("swin", "swin v2", "beit", "deit distilled") else 32
    images = example(side).double()
    groups, fixed = find_groups(model, images)
    assert name in TIED or {found.why for found in fixed} == {"holds the model's outputs"}
    # A LayerNorm over fewer channels has other statistics by definition, so its group is left alone here.
    plain = [group for group in groups if not any(_is_norm(model, member) for member in group.members)]
    removed = {group.name: third(group) for group in plain}
    small, large = copy.deepcopy(model), masked(model, groups, removed)
    remove_(small, groups, removed)
    with torch.no_grad():
        torch.testing.assert_close(small(images), large(images), atol=1e-9, rtol=1e-9)
        assert (model(images) - large(images)).abs().max() > 1e-6  # a thousand tolerances
    assert len(plain) == len(groups) if name not in NORMALISED - TIED else 0 < len(plain) < len(groups)


def _is_norm(model, member):
    return member.axis is None and isinstance(model.get_submodule(member.name), nn.LayerNorm)


@pytest.mark.parametrize("name", ["swin", "deit distilled", "convnext", "mobilenet"])
def test_all_groups_twice_then_forward_and_backward(name):
    model = trained_looking(name)
    images = example(16 if name in ("swin", "deit distilled") else 32).double()
    sizes = [sum(parameter.numel() for parameter in model.parameters())]
    for _ in range(2):
        groups, _ = find_groups(model, images)
        removed = {group.name: third(group) for group in groups}
        remove_(model, groups, removed)
        sizes.append(sum(parameter.numel() for parameter in model.parameters()))
    assert sizes[0] > 1.15 * sizes[1] > 1.15**2 * sizes[2]
    output = model.train()(images)
    outputs = output if isinstance(output, tuple) else (output,)
    sum(found.square().sum() for found in outputs).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_swin_loses_heads_with_their_columns_of_the_bias_table():
    model = trained_looking("swin")
    groups, _ = find_groups(model, example().double())
    group = next(group for group in groups if group.attention and group.attention.name == "layers.1.blocks.0.attn")
    table = model.layers[1].blocks[0].attn.relative_position_bias_table.detach().clone()
    removed = torch.arange(group.attention.head_dim) + group.attention.head_dim  # the second of four heads
    assert layout_after(group, removed)[0].tolist() == [0, 2, 3]
    remove_(model, groups, {group.name: removed})
    attention = model.layers[1].blocks[0].attn
    assert attention.num_heads == 3 and torch.equal(attention.relative_position_bias_table, table[:, [0, 2, 3]])


def test_swin_merges_four_neighbours():
    model = trained_looking("swin")
    groups, _ = find_groups(model, example().double())
    merge = model.layers[1].downsample
    stream = next(group for group in groups if any(m.name == "layers.1.downsample.norm" for m in group.members))
    remove_(model, groups, {stream.name: torch.tensor([0, 5])})
    assert (merge.dim, merge.norm.normalized_shape, merge.reduction.in_features) == (14, (56,), 56)


def test_joint_attention_of_torch_keeps_its_heads():
    model = VisionTransformer(image_size=16, patch_size=8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=32)
    groups, _ = find_groups(model, example())
    stream = next(group for group in groups if group.size == 24)
    assert stream.blocks == 3
    remove_(model, groups, {stream.name: torch.tensor([1, 9, 17])})
    attention = model.encoder.layers[0].self_attention
    assert (model.hidden_dim, attention.embed_dim, attention.head_dim, attention.num_heads) == (21, 21, 7, 3)
    model.train()(example()).sum().backward()


@pytest.mark.slow
def test_sets_of_swin_tiny():
    model = timm.create_model("swin_tiny_patch4_window7_224", num_classes=10)
    groups, _ = find_groups(model, torch.randn(1, 3, 224, 224))
    found = {}
    for group in groups:
        count, channels = found.get(group.signature, (0, 0))
        found[group.signature] = count + 1, channels + group.size
    assert sorted(count for count, _ in found.values()) == [1, 1, 1, 1, 2, 5, 5, 12]
    assert len(groups) == 28


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "deit_tiny_patch16_224", "mambaout_femto", "crossvit_tiny_240"])
def test_half_the_macs(name):
    row = halved(*fresh(name))
    assert row[1] == pytest.approx(0.5, abs=0.01) and row[4:6] == ["yes", "yes"]


def test_layouts_that_are_not_attention_are_left_alone():
    layer = nn.Module()
    layer.num_heads, layer.qkv, layer.proj = 3, nn.Linear(8, 24), nn.Linear(8, 8)
    assert attentions(nn.Sequential(layer)) == []  # three heads don't divide eight channels
    layer.num_heads, layer.scale = 2, 1.0
    assert attentions(nn.Sequential(layer)) == []  # its logits have another scale
    layer.scale = 0.5
    assert [(found.heads, found.head_dim) for found in attentions(nn.Sequential(layer))] == [(2, 4)]
