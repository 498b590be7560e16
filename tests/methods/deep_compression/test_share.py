"""Weight sharing: few values, zeros stay, the nearest value each, gradients summed over the weights that share one."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from prunelib.errors import MethodError
from prunelib.methods.deep_compression.share import attach_, deep_compression, detach_, share
from prunelib.seeds import generator


def _weight(*shape, density=0.5):
    random = generator(0, "test", *shape)
    weight = torch.randn(shape, generator=random)
    return weight * (torch.rand(shape, generator=random) < density)


@pytest.mark.parametrize("bits", [1, 3, 5])
def test_a_layer_has_so_many_values_and_its_zeros(bits):
    weight = _weight(16, 40)
    shared = share(weight, bits)
    assert len(shared.codebook) <= 2**bits and shared.codes.dtype == torch.uint8
    assert torch.equal(shared.kept, weight != 0) and len(shared.codes) == int(shared.kept.sum())
    assert torch.equal(shared.weight() == 0, weight == 0)
    assert len(shared.weight()[shared.kept].unique()) == len(shared.codebook)


def test_every_weight_has_the_value_nearest_to_it_and_more_bits_come_nearer():
    weight = _weight(30, 60)
    errors = []
    for bits in (2, 4, 6, 8):
        shared = share(weight, bits)
        values = weight[shared.kept]
        nearest = (values[:, None] - shared.codebook).abs().argmin(dim=1)
        assert torch.equal(shared.codebook[nearest], shared.codebook[shared.codes.long()])
        errors.append(float((shared.weight() - weight).square().mean()))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-4 * float(weight.var())


def test_clusters_that_are_plain_to_see_are_found():
    """Three heaps far apart, four values allowed: linear starts at 0, 3 1/3, 6 2/3, 10 settle on the heaps' means."""
    heaps = torch.tensor([1.0, 1.25, 4.0, 4.5, 10.0, 11.0])
    shared = share(heaps, 2)
    assert {0: 1.125, 1: 4.25}.items() <= dict(enumerate(shared.codebook.tolist())).items()
    assert share(heaps, 3).weight().equal(heaps)  # six values fit eight: nothing is lost


@pytest.mark.parametrize("weight", [torch.zeros(3, 4), torch.tensor([[0.0, 2.5]]), torch.tensor([[0.0, -1.0, 2.0]])])
def test_few_values_or_none_are_kept_as_they_are(weight):
    assert torch.equal(share(weight, 1).weight(), weight)


def test_the_same_weights_share_the_same_values():
    first, again = (share(_weight(64, 99), 8) for _ in range(2))
    assert torch.equal(first.codebook, again.codebook) and torch.equal(first.codes, again.codes)


def test_a_diverged_network_is_refused():
    with pytest.raises(MethodError, match="not finite"):
        share(torch.tensor([1.0, torch.nan]), 5)


@pytest.fixture
def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4, 3))
    with torch.no_grad():
        for index in (0, 4):
            net[index].weight *= torch.rand(net[index].weight.shape) < 0.7
    return net


def test_convolutions_and_linear_layers_have_bits_of_their_own(network):
    layers = deep_compression(network, of="m", conv_bits=4, linear_bits=2)
    assert list(layers) == ["0.weight", "4.weight"]
    assert [len(shared.codebook) for shared in layers.values()] == [16, 4]


def test_a_shared_value_gets_the_sum_of_its_weights_gradients(network):
    x = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    layers = deep_compression(network, of="m", conv_bits=3, linear_bits=2)
    plain = copy.deepcopy(network)
    with torch.no_grad():
        for name, shared in layers.items():
            plain.get_parameter(name).copy_(shared.weight())
    attach_(network, layers)
    outputs = [net(x) for net in (plain, network)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    for name, shared in layers.items():
        layer = network.get_submodule(name.removesuffix(".weight"))
        gradient = plain.get_parameter(name).grad[shared.kept].double().numpy()
        sums = np.bincount(shared.codes.numpy(), gradient, len(shared.codebook))
        np.testing.assert_allclose(layer.parametrizations.weight.original.grad.numpy(), sums, rtol=1e-4, atol=1e-4)


def test_training_moves_values_and_nothing_else_of_a_shared_layer(network):
    kinds = [type(module) for module in network]
    layers = deep_compression(network, of="m", conv_bits=3, linear_bits=2)
    before = {name: shared.weight() for name, shared in layers.items()}
    attach_(network, layers)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for seed in range(3):
        optimizer.zero_grad()
        network(torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
        optimizer.step()
    tuned = detach_(network, layers)
    assert [type(module) for module in network] == kinds
    for name, shared in tuned.items():
        weight = network.get_parameter(name)
        assert torch.equal(weight, shared.weight()) and not torch.equal(weight, before[name])
        assert torch.equal(shared.codes, layers[name].codes) and torch.equal(weight == 0, before[name] == 0)
