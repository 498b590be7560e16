"""Units are found, and a gated network is the masked network: same outputs, no gradient, nothing disturbed."""

import copy

import pytest
import torch
from torch import nn

from prunelib.errors import MethodError
from prunelib.methods.ising.counts import states_readme
from prunelib.methods.ising.gates import candidate_forward, discover, gated_forward
from prunelib.models.alexnet import alexnet
from prunelib.models.resnet import resnet18, resnet34, resnet50, resnet101
from prunelib.models.squeezenet import squeezenet


def _gates(units, state):
    return {name: gate.double() for name, gate in units.split(state).items()}


def _masked(model, units, gates):
    """A copy with shut filters, their norms and shut linear inputs written to zero."""
    network = copy.deepcopy(model)
    with torch.no_grad():
        for layer in units.layers:
            module, shut = network.get_submodule(layer.name), gates[layer.name] == 0
            if layer.kind == "inputs":
                module.weight[:, shut] = 0
                continue
            owners = [module] if layer.norm is None else [module, network.get_submodule(layer.norm)]
            for tensor in (t for owner in owners for t in (owner.weight, owner.bias) if t is not None):
                tensor[shut] = 0
    return network


def test_units_of_a_residual_network(residual, batch):
    units = discover(residual, batch[0])
    assert units.layers[0].name == "conv1" and units.layers[0].norm == "bn1"
    assert [layer.size for layer in units.layers] == [4] * 5 + [8] * 5 + [16] * 5 + [16]
    assert units.layers[-1].kind == "inputs" and units.layers[-1].norm is None
    shortcuts = [layer for layer in units.layers if "downsample" in layer.name]
    assert [layer.norm for layer in shortcuts] == ["stages.1.0.downsample.1", "stages.2.0.downsample.1"]
    assert units.numbers("stages.0.0.conv1").tolist() == [4, 5, 6, 7]


def test_units_without_norms(joined, batch):
    units = discover(joined, batch[0])
    assert {layer.name: (layer.size, layer.kind, layer.norm) for layer in units.layers} == {
        "left": (4, "filters", None),
        "right": (2, "filters", None),
        "depthwise": (6, "filters", "norm"),
        "grouped": (4, "filters", None),
        "hidden": (16, "inputs", None),
        "out": (5, "inputs", None),
    }


README = [(resnet18, 8, 6208), (resnet34, 8, 9920), (resnet50, 8, 32448), (resnet101, 8, 58560)]
README += [(alexnet, 64, 18662), (squeezenet, 32, 3558)]


@pytest.mark.parametrize(("build", "side", "published"), README)
def test_published_number_of_states(build, side, published):
    model = build(102, 3)
    assert states_readme(model, discover(model, torch.zeros(1, 3, side, side))) == published


@pytest.mark.parametrize(("build", "size"), [(resnet18, 5312), (resnet34, 9024), (resnet50, 28608), (resnet101, 54720)])
def test_units_of_the_card(build, size):
    """Every filter but the classes, down-sampling ones once, and the classifier's inputs."""
    assert discover(build(102, 3), torch.zeros(1, 3, 8, 8)).size == size


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["residual", "joined"])
def test_gates_equal_masked_weights_exactly(name, training, batch, draw, request):
    model = request.getfixturevalue(name)
    units = discover(model, batch[0])
    gates = _gates(units, torch.rand(units.size, generator=draw) < 0.6)
    masked = _masked(model, units, gates)
    output = gated_forward(model.train(training), units, gates, batch[0])
    assert torch.equal(output, masked.train(training)(batch[0]))
    open_gates = {key: torch.ones_like(gate) for key, gate in gates.items()}
    assert not torch.allclose(output, gated_forward(model.eval(), units, open_gates, batch[0]))


@pytest.mark.parametrize("name", ["residual", "joined"])
def test_shut_units_get_no_gradient(name, batch, draw, request):
    model = request.getfixturevalue(name).train()
    units = discover(model, batch[0])
    gates = _gates(units, torch.rand(units.size, generator=draw) < 0.8)
    gated_forward(model, units, gates, batch[0]).square().sum().backward()
    reached = 0
    for layer in units.layers:
        module, shut = model.get_submodule(layer.name), gates[layer.name] == 0
        slices = module.weight.grad.T if layer.kind == "inputs" else module.weight.grad
        assert slices[shut].count_nonzero() == 0
        reached += int(slices[~shut].count_nonzero() > 0)
        if layer.norm is not None:
            norm = model.get_submodule(layer.norm)
            assert norm.weight.grad[shut].count_nonzero() == norm.bias.grad[shut].count_nonzero() == 0
    assert reached == len(units.layers)


@pytest.mark.parametrize("name", ["residual", "joined"])
def test_candidates_together_equal_each_alone(name, batch, draw, request):
    model = request.getfixturevalue(name).train()
    units = discover(model, batch[0])
    states = torch.rand(5, units.size, generator=draw) < 0.6
    together = candidate_forward(model, units, _gates(units, states), batch[0])
    for state, output in zip(states, together, strict=True):
        alone = gated_forward(copy.deepcopy(model), units, _gates(units, state), batch[0])
        torch.testing.assert_close(output, alone, rtol=1e-9, atol=1e-9)


def test_candidates_disturb_nothing(residual, batch, draw):
    residual.train().stages[0].eval()
    units = discover(residual, batch[0])
    before = {name: tensor.clone() for name, tensor in residual.state_dict().items()}
    modes = [module.training for module in residual.modules()]
    stream = torch.get_rng_state()
    candidate_forward(residual, units, _gates(units, torch.rand(4, units.size, generator=draw) < 0.5), batch[0])
    assert all(torch.equal(tensor, before[name]) for name, tensor in residual.state_dict().items())
    assert [module.training for module in residual.modules()] == modes
    assert torch.equal(torch.get_rng_state(), stream)
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in residual.modules())


def test_a_failed_pass_leaves_no_hooks(residual, batch):
    units = discover(residual, batch[0])
    with pytest.raises(RuntimeError):
        candidate_forward(residual, units, _gates(units, torch.ones(4, units.size)), batch[0][:, :1])
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in residual.modules())


def test_layers_that_run_twice_are_refused(batch):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.out = nn.Conv2d(2, 2, 1).double(), nn.Linear(2, 3).double()

        def forward(self, x):
            return self.out(self.conv(self.conv(x)).mean((2, 3)))

    with pytest.raises(MethodError, match="conv run more than once"):
        discover(Twice(), batch[0])


def test_a_network_without_units_is_refused(batch):
    with pytest.raises(MethodError, match="no convolution or linear layer"):
        discover(nn.Sequential(nn.Flatten()), batch[0])
