"""Sizes of pruned networks: density three ways, on masks whose counts are known."""

import pytest
import torch
from torch import nn

from prunelib.compact.size import mask_sizes, structure_sizes
from prunelib.masks.mask import Mask
from prunelib.tasks.base import prunable

EXAMPLE = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def _network(width=4):
    torch.manual_seed(0)
    body = [nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(width, 2))


def test_a_dense_network_is_all_there():
    found = structure_sizes(_network(), _network(), EXAMPLE)
    weights, total, macs = 4 * 27 + 8, 4 * 27 + 4 + 8 + 8 + 2, 36 * 4 * 27 + 8
    assert found["kept"] == found["prunable"] == weights
    assert found["parameters"] == found["parameters_kept"] == found["parameters_compact"] == total
    assert found["macs"] == found["macs_kept"] == found["macs_compact"] == macs
    assert {found[name] for name in found if name.startswith("density")} == {1.0}


def test_a_smaller_network_is_compared_with_the_dense_one():
    found = structure_sizes(_network(), _network(2), EXAMPLE)
    assert found["density"] == found["density_nonzero"] == (2 * 27 + 4) / (4 * 27 + 8)
    assert found["density_all"] == found["density_compact"] == (2 * 27 + 2 + 4 + 4 + 2) / (4 * 27 + 4 + 8 + 8 + 2)
    assert found["macs_compact"] == 36 * 2 * 27 + 4 and found["macs"] == 36 * 4 * 27 + 8


def test_a_mask_that_kills_two_of_four_filters():
    network = _network()
    mask = Mask.ones(dict(network.named_parameters()))
    for name in ("0.weight", "0.bias", "1.weight", "1.bias"):
        mask[name][:2] = False
    mask.apply_(network)
    found = mask_sizes(_network(), network, mask, EXAMPLE)
    pruned = 2 * 27 + 2 + 2 + 2
    assert (found["prunable"], found["kept"]) == (found["parameters"], found["parameters"] - pruned)
    assert found["density"] == found["density_all"] == found["kept"] / found["prunable"]
    assert found["density_nonzero"] == (2 * 27 + 8) / (4 * 27 + 8)
    assert found["parameters_compact"] == 2 * 27 + 2 + 4 + 4 + 2
    assert found["macs_compact"] == 36 * 2 * 27 + 4
    assert found["macs_kept"] == pytest.approx(36 * 2 * 27 + 8)


def test_a_weight_mask_counts_biases_as_kept():
    network = _network()
    mask = Mask({name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in prunable(network).items()})
    found = mask_sizes(_network(), network, mask, EXAMPLE, alive=False)
    assert (found["density"], found["kept"], found["prunable"]) == (0.0, 0, 116)
    assert found["parameters_kept"] == 4 + 8 + 2
    assert found["density_compact"] is None and found["macs_compact"] is None
    assert found["density_nonzero"] == 1.0  # the mask has not been applied to this network


def test_what_compaction_can_not_do_is_none():
    class Plus(nn.Module):
        """Turns zero into something else between two layers."""

        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 4, bias=False), nn.Linear(4, 2)

        def forward(self, x):
            return self.second(torch.cos(self.first(x)))

    network = Plus()
    mask = Mask.ones(prunable(network))
    mask["first.weight"][:2] = False
    mask.apply_(network)
    found = mask_sizes(Plus(), network, mask, torch.randn(2, 3))
    assert found["parameters_compact"] is None and found["density"] == 14 / 20
