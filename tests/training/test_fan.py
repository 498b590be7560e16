"""Initial weights at the effective fan: signals keep their size through a sparse linear layer without a norm."""

import pytest
import torch
from torch import nn

from prunelib.masks.mask import Mask
from prunelib.methods.expander.graphs import sample
from prunelib.training.fan import effective_fan_


def test_the_hidden_layer_of_vgg16_no_longer_shrinks_thirteenfold():
    """At degree 3 activations of the 512 → 512 layer shrink by sqrt(512 / 3) (card of the expanders, 1.5)."""
    torch.manual_seed(0)
    layer = nn.Linear(512, 512, bias=False)
    nn.init.normal_(layer.weight, std=0.01)
    mask = Mask({"weight": torch.from_numpy(sample("rreg", 512, 512, 3.0).toarray().T.copy())})
    inputs = torch.randn(256, 512)
    dense = layer(inputs).std()
    mask.apply_(layer)
    assert (dense / layer(inputs).std()).item() == pytest.approx((512 / 3) ** 0.5, rel=0.05)
    effective_fan_(layer, mask)
    assert (dense / layer(inputs).std()).item() == pytest.approx(1, rel=0.05)
    assert torch.count_nonzero(layer.weight) == 3 * 512


def test_only_masked_weights_are_scaled_and_each_layer_by_its_own_share():
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    quarter = torch.arange(72).reshape(4, 2, 3, 3) % 4 == 0
    nothing, norm = torch.zeros(4, 4, 1, 1, dtype=torch.bool), torch.tensor([True, True, False, False])
    mask = Mask({"0.weight": quarter, "1.weight": norm, "2.weight": nothing})
    effective_fan_(network, mask)
    after = dict(network.named_parameters())
    assert torch.equal(after["0.weight"], 2 * before["0.weight"])
    assert all(torch.equal(after[name], before[name]) for name in before if name != "0.weight")
