"""Stacked networks: outputs, gradients and running statistics are those of each network alone."""

import pytest
import torch

from prunelib.errors import ConfigError
from prunelib.models.build import build
from prunelib.models.stacked import Stacked

MODELS = {
    "hourglass": {"builder": "hourglass", "options": {"channels": [4, 6]}},
    "deep_decoder": {"builder": "deep_decoder", "options": {"width": 8, "k": 2}},
}


def networks(kind, layout=torch.contiguous_format):
    return [build(MODELS[kind], seed).double().to(memory_format=layout).train() for seed in range(3)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", MODELS)
def test_rows_are_the_networks(kind, layout):
    """Whatever the layout of filters and inputs: filters that lie channels last once had wrong gradients."""
    alone = networks(kind, layout)
    stacked = Stacked(networks(kind, layout))
    random = torch.Generator().manual_seed(0)
    shape = alone[0].input_shape(24, 24)
    inputs = [torch.rand(shape, generator=random).double().to(memory_format=layout) for _ in alone]
    outputs = stacked(torch.stack(inputs))
    weight = torch.rand(outputs.shape[1:], generator=random).double()
    (outputs * weight).sum().backward()
    for row, (network, x) in enumerate(zip(alone, inputs, strict=True)):
        output = network(x)
        (output * weight).sum().backward()
        assert torch.allclose(outputs[row], output, rtol=0, atol=1e-12)
        for name, parameter in network.named_parameters():
            assert torch.allclose(stacked.parameters[name].grad[row], parameter.grad, rtol=1e-9, atol=1e-9)
        for name, buffer in network.named_buffers():
            assert torch.allclose(stacked.buffers[name][row], buffer, rtol=0, atol=1e-12)


def test_given_parameters_stand_in_for_the_networks_own():
    stacked = Stacked(networks("deep_decoder"))
    inputs = torch.rand(3, 1, 8, 6, 6, dtype=torch.float64)
    black = stacked(inputs, {"head.weight": torch.full((3, 3, 8, 1, 1), -1e3, dtype=torch.float64)})
    assert not torch.allclose(black, stacked(inputs))
    silent = stacked(inputs, {"head.weight": torch.zeros(3, 3, 8, 1, 1, dtype=torch.float64)})
    assert (silent == 0.5).all()


def test_rows_go_back_to_their_networks():
    models = networks("deep_decoder")
    stacked = Stacked(models)
    with torch.no_grad():
        for row in range(3):
            stacked.parameters["head.weight"][row] = row
            stacked.buffers["blocks.block0.bn.running_mean"][row] = -row
    stacked.unstack_()
    assert [model.head.weight.mean().item() for model in models] == [0, 1, 2]
    assert [model.blocks.block0.bn.running_mean.mean().item() for model in models] == [0, -1, -2]


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ConfigError, match="got none"):
        Stacked([])
    with pytest.raises(ConfigError, match=r"network 1 differs from network 0 in encoder.*missing"):
        Stacked([networks("hourglass")[0], networks("deep_decoder")[0]])
    with pytest.raises(ConfigError, match=r"float32, not .*float64"):
        Stacked([networks("hourglass")[0], networks("hourglass")[1].float()])
