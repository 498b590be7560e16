"""A narrow network is the gated network: same outputs, gradients and statistics, for the work that is left."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from prunelib.methods.ising.gates import candidate_forward, discover, gated_forward
from prunelib.methods.ising.narrow import Narrower, narrower
from prunelib.models.alexnet import alexnet
from prunelib.models.resnet import resnet18
from prunelib.models.squeezenet import squeezenet


@pytest.fixture(params=["residual", "joined"])
def model(request):
    return request.getfixturevalue(request.param)


def _gates(units, state):
    return {name: bits.double() for name, bits in units.split(state).items()}


def _found(model, units, narrow, batch, training):
    """Output and gradients of a copy, gated (``narrow`` are gates) or narrow, and its state after the pass."""
    network = copy.deepcopy(model).train(training)
    if isinstance(narrow, dict):
        output = gated_forward(network, units, narrow, batch[0])
    else:
        output = narrower(model, units, batch[0]).forward(network, narrow, batch[0])
    nn.functional.cross_entropy(output, batch[1]).backward()
    return output, {name: p.grad for name, p in network.named_parameters()}, network.state_dict()


@pytest.mark.parametrize("density", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("training", [False, True])
def test_output_gradients_and_statistics_are_those_of_the_gates(model, training, density, batch, draw):
    units = discover(model, batch[0])
    state = torch.rand(units.size, generator=draw) < density
    narrow = Narrower(model, units, batch[0]).narrow(state, torch.device("cpu"))
    expected, gradients, after = _found(model, units, _gates(units, state), batch, training)
    output, found, moved = _found(model, units, narrow, batch, training)
    torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-9)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-9)
    before = model.state_dict()
    for layer in units.layers:
        bits = units.split(state)[layer.name]
        for part in ("running_mean", "running_var") if layer.norm else ():
            name = f"{layer.norm}.{part}"
            torch.testing.assert_close(moved[name][bits], after[name][bits])
            if bits.any() and model.get_submodule(layer.name).groups == 1:
                assert torch.equal(moved[name][~bits], before[name][~bits])


def test_candidates_are_those_of_the_gates_and_disturb_nothing(model, batch, draw):
    units = discover(model, batch[0])
    states = torch.rand(4, units.size, generator=draw) < 0.6
    narrowing, before = narrower(model.train(), units, batch[0]), copy.deepcopy(model.state_dict())
    expected = candidate_forward(model, units, {n: g.double() for n, g in units.split(states).items()}, batch[0])
    for state, output in zip(states, expected, strict=True):
        found = narrowing.candidate(model, narrowing.narrow(state, torch.device("cpu")), batch[0])
        torch.testing.assert_close(found, output, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(("build", "side"), [(alexnet, 64), (squeezenet, 33)])
def test_networks_without_norms(build, side, draw):
    torch.manual_seed(0)
    model, x = build(5, 1).eval(), torch.randn(2, 1, side, side, generator=draw)
    units = discover(model, x)
    state = torch.rand(units.size, generator=draw) < 0.5
    narrowing = narrower(model, units, x)
    output = narrowing.forward(model, narrowing.narrow(state, x.device), x)
    gates = {name: bits.float() for name, bits in units.split(state).items()}
    torch.testing.assert_close(output, gated_forward(model, units, gates, x))


def test_half_of_the_units_leave_about_a_third_of_the_work(draw):
    """In MACs: a quarter inside a block, half where it reads the residual stream, of which hardly a channel goes."""
    model, x = resnet18(10, 3, width=16).eval(), torch.randn(1, 3, 32, 32, generator=draw)
    units = discover(model, x)
    narrowing = narrower(model, units, x)

    def work(state):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            narrowing.forward(model, narrowing.narrow(state, x.device), x)
        return counter.get_total_flops()

    states = torch.rand(4, units.size, generator=draw) < 0.5
    shares = [work(state) / work(torch.ones(units.size, dtype=torch.bool)) for state in states]
    assert 0.29 < sum(shares) / len(shares) < 0.37


class Shifted(nn.Module):
    """Shut channels are not zero where they are read."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1)

    def forward(self, x):
        return self.out(torch.sigmoid(self.norm(self.conv(x)))).mean((2, 3))


class Fixed(Shifted):
    """A width is written into the forward pass."""

    def forward(self, x):
        return self.out(self.norm(self.conv(x)).reshape(len(x), 4, -1, 1)).mean((2, 3))


@pytest.mark.parametrize("network", [Shifted, Fixed])
def test_networks_that_need_shut_channels_stay_whole(network, batch, caplog):
    model = network().double()
    assert narrower(model, discover(model, batch[0]), batch[0]) is None
    assert "shut channels of this" in caplog.text
