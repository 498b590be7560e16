"""Sparse networks equal masked dense ones, while they train too; the way back gives the dense network."""

import copy
import logging

import pytest
import torch
from torch import nn
from torch.nn import functional

from prunelib.compact.sparse import cost
from prunelib.compact.sparse.followers import BatchLastNorm, BatchLastPool
from prunelib.compact.sparse.functions import is_batch_last
from prunelib.compact.sparse.layers import Sparse
from prunelib.compact.sparse.network import densify, sparsify
from prunelib.masks.mask import Mask
from prunelib.models.build import build
from prunelib.tasks.base import prunable

PLANS = {
    "vgg": {"builder": "vgg", "options": {"plan": [12, 16, "M", 24, "M"], "hidden": 20, "dropout": 0.0}},
    "resnet": {"builder": "resnet_small", "options": {"width": 8, "blocks": 1}},
}


def _network(name="vgg"):
    return build(PLANS[name], 0, classes=5, in_channels=3)


def _kernels(model, keep=0.3):
    """A mask of whole kernels for every layer but the last."""
    random, weights = torch.Generator().manual_seed(0), prunable(model)
    tensors = {}
    for name, weight in weights.items():
        kernels = torch.rand(weight.shape[:2], generator=random) < (keep if name != list(weights)[-1] else 1.0)
        tensors[name] = kernels.view(*kernels.shape, *[1] * (weight.dim() - 2)).expand_as(weight).clone()
    return Mask(tensors)


def _batch(seed=0, count=6):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 11, 13, generator=random), torch.randint(0, 5, (count,), generator=random)


def _train(model, steps, mask=None, kind="sgd"):
    enforcer = mask.enforcer(model) if mask else None
    options = {"lr": 0.02, "weight_decay": 1e-2}
    sgd = kind == "sgd"
    optimizer = (
        torch.optim.SGD(model.parameters(), momentum=0.9, **options)
        if sgd
        else torch.optim.AdamW(model.parameters(), **options)
    )
    losses = []
    for step in range(steps):
        x, y = _batch(step)
        loss = functional.cross_entropy(model.train()(x), y)
        optimizer.zero_grad()
        loss.backward()
        if enforcer:
            enforcer.gradients_()
        optimizer.step()
        if enforcer:
            enforcer.weights_()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("choice", ["sparse", "dense"])
@pytest.mark.parametrize("name", list(PLANS))
def test_training_equals_masked_dense_training(name, choice, kind):
    masked = _network(name)
    mask = _kernels(masked)
    mask.apply_(masked)
    sparse = copy.deepcopy(masked)
    forms, rest = sparsify(sparse, mask, _batch()[0], choice)
    assert set(forms.values()) == {"kernel" if choice == "sparse" else "dense"}
    assert list(rest) == [list(mask)[-1]]
    assert sum(p.numel() for p in sparse.parameters()) < sum(p.numel() for p in masked.parameters())
    losses = [_train(masked, 6, mask, kind), _train(sparse, 6, rest, kind)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5 if kind == "sgd" else 1e-3)
    x = _batch(9)[0]
    densify(sparse)
    assert repr(sparse) == repr(masked)
    for key, tensor in masked.state_dict().items():
        assert torch.allclose(
            sparse.state_dict()[key].double(), tensor.double(), atol=1e-4 if kind == "sgd" else 1e-2
        ), key
    assert all((sparse.get_parameter(key)[~kept] == 0).all() for key, kept in mask.items())
    assert sparse.eval()(x).shape == (6, 5)


def test_round_trip_changes_no_bit():
    model = _network()
    mask = _kernels(model)
    mask.apply_(model)
    before, shown = copy.deepcopy(model.state_dict()), repr(model)
    sparsify(model, mask, _batch()[0], "sparse")
    assert any(isinstance(module, Sparse) for module in model.modules())
    densify(model)
    assert repr(model) == shown
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_layout_lasts_from_layer_to_layer():
    model = _network()
    sparsify(model, _kernels(model), _batch()[0], "sparse")
    seen = []
    for module in model.features:
        module.register_forward_hook(lambda module, inputs, output: seen.append(is_batch_last(output)))
    model(_batch()[0])
    assert len(seen) == len(model.features) and all(seen)


def test_layers_that_do_not_suit_stay():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 1),
    )
    model[3].weight = nn.Parameter(model[3].weight.detach().clone())
    mask = {f"{index}.weight": torch.ones_like(layer.weight, dtype=torch.bool) for index, layer in enumerate(model)}
    mask["0.weight"][0], mask["2.weight"][0, 0, 0, 0], mask["3.weight"][0, 1] = False, False, False
    forms, rest = sparsify(model, mask, torch.zeros(1, 3, 9, 9), "sparse")
    assert forms == {"3": "kernel"}
    assert list(rest) == ["0.weight", "1.weight", "2.weight"]


def test_tied_weights_stay():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    mask = {"0.weight": torch.eye(4, dtype=torch.bool)}
    assert sparsify(model, mask, torch.zeros(1, 4), "sparse")[0] == {}


@pytest.mark.parametrize("form", ["kernel", "dense", "gather"])
@pytest.mark.parametrize("batch", [2, cost.FEW])
def test_auto_takes_the_fastest_form_and_measures_each_kind_once(monkeypatch, form, batch):
    asked = []

    def timed(layer, choice, shape, training):
        asked.append((choice, shape, training))
        return {"kernel": 2.0, "dense": 3.0, "gather": 4.0, form: 1.0}[choice]

    monkeypatch.setattr(cost, "_timed", timed)
    monkeypatch.setattr(cost, "_fastest", {})
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    kept = torch.eye(4, dtype=torch.bool)[:, :, None, None].expand(4, 4, 3, 3)
    forms, _ = sparsify(model, {"0.weight": kept, "1.weight": kept}, torch.zeros(batch, 4, 6, 6))
    choices = {"kernel", "dense", "gather"} if batch < cost.FEW else {"kernel", "dense"}
    expected = form if form in choices else "kernel"
    assert forms == {"0": expected, "1": expected}
    assert len(asked) == len(choices) * (1 + cost.ROUNDS)
    assert set(asked) == {(choice, (batch, 4, 6, 6), True) for choice in choices}


def test_auto_really_measures(caplog):
    model = _network().eval()
    mask = _kernels(model, 0.1)
    mask.apply_(model)
    expected, x = copy.deepcopy(model), _batch()[0]
    with caplog.at_level(logging.INFO):
        forms, _ = sparsify(model, mask, x)
    assert set(forms.values()) <= {"kernel", "dense", "gather"} and len(forms) == 4
    assert "features.3" in caplog.text
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.allclose(model(x), expected(x), atol=1e-5) and not model.training


@pytest.mark.parametrize("window", [2, 3, (1, 2)])
@pytest.mark.parametrize("sides", [(6, 6), (7, 5)])
def test_followers_equal_torch_on_batch_last_images(window, sides):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, *sides, generator=random, dtype=torch.float64)
    last = x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    norms = nn.BatchNorm2d(3, dtype=torch.float64), BatchLastNorm(3, dtype=torch.float64)
    results = []
    for norm, pool, given in zip(norms, (nn.MaxPool2d(window), BatchLastPool(window)), (x, last), strict=True):
        given = given.clone().requires_grad_()
        normed = norm(given)
        y = pool(torch.relu(normed))
        y.backward(torch.arange(y.numel(), dtype=torch.float64).view_as(y))
        results.append([y, given.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var])
        assert is_batch_last(normed) == is_batch_last(y) == (given is not x and is_batch_last(given))
    assert all(torch.allclose(a, b, rtol=0, atol=1e-10) for a, b in zip(*results, strict=True))


def test_pools_hand_nan_on_and_leave_other_windows_to_torch():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x[0, 0, 1, 0] = torch.nan
    last = x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    for options in (
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "ceil_mode": True},
    ):
        expected = nn.MaxPool2d(**options)(x)
        assert torch.equal(BatchLastPool(**options)(last).nan_to_num(7), expected.nan_to_num(7))
