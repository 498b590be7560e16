"""Training what is left: a smaller network takes the same steps as the masked one, and its values go back in place."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from prunelib.compact.shrink import shrunk
from prunelib.masks.mask import Mask
from prunelib.measure.cost import parameters
from prunelib.measure.steps import training_step
from prunelib.models.hourglass import hourglass
from prunelib.tasks.base import prunable

CHANNELS = [8, 12]


def _generator():
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(1)
    return hourglass(channels=CHANNELS), torch.rand(1, 32, 24, 24, generator=random), random


def _oes_mask(model, random, density=0.4):
    """As learned masks are: norms without shift, half their channels shut, filters left in any of them."""
    tensors = {name: torch.rand(p.shape, generator=random) < density for name, p in model.named_parameters()}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            tensors[f"{name}.weight"] = torch.rand(len(layer.weight), generator=random) < 0.6
            tensors[f"{name}.bias"][:] = False
    tensors["head.weight"][:] = True
    return Mask(tensors)


def _trained(model, mask, batch, steps):
    network = copy.deepcopy(model)
    mask.apply_(network)
    step = training_step(network, functional.mse_loss, batch, mask)
    for _ in range(steps):
        step()
    return network


@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-3)])
def test_it_takes_the_steps_of_masked_training(kind, tolerance):
    model, example, random = _generator()
    mask = _oes_mask(model, random)
    model, example = model.to(kind), example.to(kind)
    target = torch.rand(1, 3, 24, 24, generator=random).to(kind)
    small = shrunk(model, mask, example)
    assert parameters(small.network) < 0.5 * parameters(model)
    masked = _trained(model, mask, (example, target), 6)
    network = _trained(small.network, small.mask, (example, target), 6)
    with torch.no_grad():
        torch.testing.assert_close(network(example), masked(example), rtol=0, atol=tolerance)
    full = copy.deepcopy(model)
    mask.apply_(full)
    small.network.load_state_dict(network.state_dict())
    small.write_back_(full)
    before = dict(model.named_parameters())
    for name, value in full.named_parameters():
        assert (value[~mask[name]] == 0).all()
        torch.testing.assert_close(value, dict(masked.named_parameters())[name], rtol=0, atol=tolerance)
    assert any((value[mask[name]] != before[name][mask[name]]).any() for name, value in full.named_parameters())


def test_values_go_back_to_where_they_came_from():
    model, example, random = _generator()
    mask = _oes_mask(model, random)
    masked = copy.deepcopy(model)
    mask.apply_(masked)
    small, again = shrunk(model, mask, example), copy.deepcopy(masked)
    small.write_back_(again)
    for name, tensor in masked.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    with torch.no_grad():
        for tensor in small.network.parameters():
            tensor.fill_(7)
    small.write_back_(again)
    assert sum(int((tensor == 7).sum()) for tensor in again.parameters()) == parameters(small.network)
    assert small.mask.kept <= mask.kept and small.mask.size == parameters(small.network)


def test_what_only_begins_at_zero_is_not_dead():
    """Shifts of norms start at 0 but may grow: shut scales alone leave every channel in place."""
    model, example, random = _generator()
    mask = {name: tensor for name, tensor in _oes_mask(model, random, 1.0).items() if name.endswith("weight")}
    assert shrunk(model, Mask(mask), example) is None
    scattered = Mask({name: torch.rand(p.shape, generator=random) < 0.9 for name, p in prunable(model).items()})
    assert shrunk(model, scattered, example) is None


def test_the_networks_given_stay_as_they_are():
    model, example, random = _generator()
    mask, before = _oes_mask(model, random), copy.deepcopy(model.state_dict())
    small = shrunk(model, mask, example)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and small.network.training
    assert all((small.network.state_dict()[name][~kept] == 0).all() for name, kept in small.mask.items())
