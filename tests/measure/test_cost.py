"""Costs: MACs counted by hand, by density, for attention too; latency and memory are measured."""

import time

import pytest
import torch
from torch import nn

from prunelib.masks.mask import Mask
from prunelib.measure.cost import (
    forward_memory_mb,
    latency,
    macs,
    macs_kept,
    macs_torch_pruning,
    parameters,
)
from prunelib.tasks.base import prunable


def _network():
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3, 2, groups=2), head)


CONV1, CONV2, LINEAR = 9 * 9 * 4 * 27, 4 * 4 * 8 * 2 * 9, 8 * 5


def test_parameters_leave_buffers_out():
    assert parameters(_network()) == (4 * 27 + 4) + 8 + (8 * 18 + 8) + (40 + 5)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_macs_of_one_input_counted_by_hand(batch):
    assert macs(_network(), torch.zeros(batch, 3, 9, 9)) == CONV1 + CONV2 + LINEAR


def test_counting_changes_nothing():
    network = _network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    macs(network, torch.ones(2, 3, 9, 9))
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_kept_macs_follow_each_layers_own_density():
    network = _network()
    mask = dict(Mask.ones(prunable(network)))
    example = torch.zeros(2, 3, 9, 9)
    assert macs_kept(network, mask, example) == CONV1 + CONV2 + LINEAR
    mask["0.weight"] = torch.zeros(4, 3, 3, 3, dtype=torch.bool)
    mask["0.weight"][0] = True
    mask["3.2.weight"] = torch.zeros(5, 8, dtype=torch.bool)
    assert macs_kept(network, mask, example) == CONV1 / 4 + CONV2
    masked_bias = {"0.bias": torch.zeros(4, dtype=torch.bool)}
    assert macs_kept(network, masked_bias, example) == CONV1 + CONV2 + LINEAR


def test_attention_is_counted_whatever_kernel_would_run():
    """Per head 2 · n² · d for scores and mix; projections 4 · n · width²."""
    layer = nn.MultiheadAttention(16, 4, batch_first=True)

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = layer

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0]

    assert macs(Attends(), torch.zeros(2, 10, 16)) == 2 * 10 * 10 * 16 + 4 * 10 * 16 * 16


def test_latency_is_the_median_after_warm_up():
    class Slow(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            time.sleep(0.5 if self.calls <= 2 else 0.02)
            return x

    model = Slow()
    found = latency(model, torch.zeros(1), repeats=5, warm_up=2)
    assert model.calls == 7 and model.training
    assert 20 <= found["latency_ms"] < 200 and 0 <= found["latency_iqr_ms"] < 200
    assert found["threads"] == torch.get_num_threads()


def test_the_other_counter_adds_biases_and_norms():
    """Biases: one each per value; the norm: two per value; the pool: one per value it reads."""
    network = _network()
    biases, norm, pool = 9 * 9 * 4 + 4 * 4 * 8 + 5, 2 * 9 * 9 * 4, 4 * 4 * 8
    example = torch.zeros(3, 3, 9, 9)
    assert macs_torch_pruning(network, example) == macs(network, example) + biases + norm + pool
    assert network.training and not any(module._forward_hooks for module in network.modules())


def test_memory_of_a_pass_counted_by_hand():
    """While the second layer computes, the weights, the input, the first layer's output and its own are alive."""
    network = nn.Sequential(nn.Linear(10, 2000, bias=False), nn.ReLU(inplace=True), nn.Linear(2000, 4, bias=False))
    example = torch.zeros(50, 10)
    values = 10 * 2000 + 2000 * 4 + 50 * 10 + 50 * 2000 + 50 * 4
    assert forward_memory_mb(network, example) == 4 * values / 2**20
    assert network.training


def test_memory_counts_views_once_and_what_is_dropped_no_more():
    class Halves(nn.Module):
        def forward(self, x):
            for _ in range(5):
                x = (x.reshape(-1) * 2)[: x.numel()].reshape(x.shape)
            return x

    assert forward_memory_mb(Halves(), torch.zeros(1000, 3)) == 3 * 4 * 3000 / 2**20
