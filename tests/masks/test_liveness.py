"""Liveness: what is dead is found and its cause is named; what is alive passes, however small its signal."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from prunelib.masks.liveness import liveness
from prunelib.masks.mask import Mask
from prunelib.tasks.base import prunable

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def _classifier(norm=False):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 2))


def _generator():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.Sigmoid())


def _report(model, changes, example=X):
    mask = dict(Mask.ones(prunable(model))) | changes

    def loss(output):
        if output.dim() == 2:
            return functional.cross_entropy(output, torch.arange(len(output)) % 2)
        return functional.mse_loss(output, torch.full_like(output, 0.3))

    return liveness(model, Mask(mask), example, loss)


def _none(model, name):
    return {name: torch.zeros_like(dict(model.named_parameters())[name], dtype=torch.bool)}


@pytest.mark.parametrize("model", [_classifier(), _classifier(norm=True)])
def test_a_full_classifier_is_alive(model):
    report = _report(model, {})
    assert (report.alive, report.why, report.dead_layers) == (True, "", [])


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("layer", ["0.weight", "6.weight"])
def test_an_empty_layer_in_a_chain_disconnects_it(layer, norm):
    model = _classifier(norm)
    report = _report(model, _none(model, layer))
    assert not report.alive
    assert report.why == f"the output does not depend on the input; nothing is kept of {layer}"
    assert layer in report.dead_layers


def test_kept_layers_without_a_common_channel_are_disconnected():
    model = _classifier()
    first, last = torch.zeros(4, 3, 3, 3, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool)
    first[0], last[:, 1] = True, True
    report = _report(model, {"0.weight": first, "6.weight": last})
    assert not report.alive
    assert report.why == "the output does not depend on the input"
    assert "0.weight" in report.dead_layers


def test_a_mask_that_keeps_nothing_says_so():
    model = _classifier()
    report = _report(model, _none(model, "0.weight") | _none(model, "6.weight"))
    assert (report.alive, report.why) == (False, "the mask keeps nothing")


def test_a_dead_side_branch_is_reported_but_does_not_kill():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.side, self.main = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.main(x + self.side(x))

    model = Branches()
    report = _report(model, _none(model, "side.weight"), torch.randn(4, 3))
    assert (report.alive, report.dead_layers) == (True, ["side.weight"])


def test_a_generator_of_one_image_is_alive_or_constant():
    model = _generator()
    assert _report(model, {}, X[:1]).alive
    assert not _report(model, _none(model, "0.weight"), X[:1]).alive
    flat = _report(model, {}, torch.ones(1, 3, 8, 8))
    assert (flat.alive, flat.why) == (False, "the output is constant")


def test_equal_outputs_for_different_inputs_are_constant():
    class Shift(nn.Module):
        """Depends on its input in the gradient only: the output is the same for every input of equal mean."""

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x):
            return self.linear(x.mean(1, keepdim=True).expand(-1, 3))

    report = _report(Shift(), {}, torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    assert (report.alive, report.why) == (False, "the output is constant")


def test_a_tiny_signal_under_a_large_bias_is_alive():
    model = _classifier()
    with torch.no_grad():
        model[0].weight.mul_(1e-9)
        model[0].bias.fill_(1.0)
    assert torch.equal(model.eval()(X)[0], model(X)[1])
    assert _report(model, {}).alive


def test_an_infinite_output_is_named():
    model = _classifier()
    with torch.no_grad():
        model[6].bias.fill_(float("inf"))
    assert _report(model, {}).why == "the output is not finite"


def test_the_model_is_left_as_it_was():
    model = _classifier(norm=True).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    _report(model, _none(model, "0.weight"))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model.training and model[0].weight.grad is None and model[0].weight.dtype == torch.float32


def test_many_empty_layers_are_listed_shortly():
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(9)))
    changes = {name: torch.zeros(2, 2, dtype=torch.bool) for name in list(prunable(model))[:7]}
    report = _report(model, changes, torch.randn(4, 2))
    assert report.why.endswith("nothing is kept of 0.weight, 1.weight, 2.weight, 3.weight, 4.weight and 2 more")
