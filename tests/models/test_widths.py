"""Cutting channels out of single layers."""

import pytest
import torch
from torch import nn

from prunelib.errors import MethodError
from prunelib.models.widths import channel_axis, keep_, width


@pytest.mark.parametrize(
    ("layer", "side", "attributes"),
    [
        (nn.Conv2d(4, 6, 3), "out", {"out_channels": 2, "in_channels": 4}),
        (nn.Conv2d(4, 6, 3), "in", {"out_channels": 6, "in_channels": 2}),
        (nn.Conv1d(4, 4, 3, groups=4), "out", {"out_channels": 2, "in_channels": 2, "groups": 2}),
        (nn.ConvTranspose2d(4, 6, 3), "out", {"out_channels": 2, "in_channels": 4}),
        (nn.ConvTranspose2d(4, 6, 3), "in", {"out_channels": 6, "in_channels": 2}),
        (nn.Linear(4, 6), "out", {"out_features": 2, "in_features": 4}),
        (nn.Linear(4, 6, bias=False), "in", {"out_features": 6, "in_features": 2}),
        (nn.BatchNorm2d(6), "out", {"num_features": 2}),
        (nn.LayerNorm(6), "out", {"normalized_shape": (2,)}),
        (nn.GroupNorm(2, 6), "out", {"num_channels": 2}),
    ],
)
def test_kept_channels_and_attributes(layer, side, attributes):
    nn.init.normal_(layer.weight)
    before, kept = layer.weight.detach().clone(), torch.tensor([1, 3])
    keep_(layer, side, kept)
    assert {name: getattr(layer, name) for name in attributes} == attributes
    assert width(layer, side) == 2
    assert torch.equal(layer.weight, before.index_select(channel_axis(layer, side), kept))
    if layer.bias is not None and side == "out":
        assert layer.bias.shape == (2,)
    inputs = getattr(layer, "in_channels", getattr(layer, "in_features", 2))
    shape = (3, inputs) if isinstance(layer, nn.Linear | nn.LayerNorm | nn.GroupNorm) else (3, inputs, 5, 5)
    layer(torch.randn(shape[: 3 if isinstance(layer, nn.Conv1d) else 4])).sum().backward()


def test_running_statistics_follow():
    norm = nn.BatchNorm2d(4)
    norm.running_mean.copy_(torch.arange(4.0))
    keep_(norm, "out", torch.tensor([0, 3]))
    assert norm.running_mean.tolist() == [0.0, 3.0]
    assert norm.num_batches_tracked.dim() == 0 and "running_mean" in norm.state_dict()


def test_channel_groups_must_keep_the_same():
    layer = nn.Conv2d(8, 8, 1, groups=2)
    keep_(layer, "in", torch.tensor([0, 2, 4, 6]))
    assert (layer.in_channels, layer.weight.shape[1]) == (4, 2)
    with pytest.raises(MethodError, match="2 channel groups would keep different channels"):
        keep_(layer, "out", torch.tensor([0, 1, 4, 6]))


def test_other_layers_are_refused():
    with pytest.raises(MethodError, match="PReLU: not a layer whose channels can be cut"):
        keep_(nn.PReLU(4), "out", torch.tensor([0]))
