"""What is left of a pruned weight whose gradient alone is masked, under the schedules of the expanders' scripts.

The table is that of the card (0.1): a script's residual factor after 30, 90, 150 and 300 epochs.
"""

from pathlib import Path

import pytest
import torch
from torch import nn

from prunelib.config import load, read
from prunelib.training.recipes import optimizer, rate

RECIPES = load(read(Path(__file__).parents[2] / "config" / "paper.yaml")).recipes
EPOCHS = (30, 90, 150, 300)


def residue(recipe, steps_per_epoch):
    """Step a weight of 1 whose gradient is always 0, as SGD with Nesterov momentum and weight decay does it."""
    weight, momentum, found = 1.0, None, {}
    for epoch in range(recipe["epochs"]):
        lr = rate(recipe, epoch)
        for _ in range(steps_per_epoch):
            slope = recipe["weight_decay"] * weight
            momentum = slope if momentum is None else recipe["momentum"] * momentum + slope
            weight -= lr * (slope + recipe["momentum"] * momentum)
        found[epoch + 1] = weight
    return found


@pytest.mark.parametrize(
    ("recipe", "images", "factors"),
    [
        ("vgg", 50_000, (0.053, 0.0059, 0.0034, 0.0026)),
        ("vgg-tiny-imagenet", 100_000, (0.480, 0.276, 0.241, 0.225)),
        ("resnet", 50_000, (0.864, 0.774, 0.753, 0.746)),
        ("resnet-tiny-imagenet", 100_000, (0.096, 0.016, 0.011, 0.0092)),
    ],
)
def test_the_cards_residues(recipe, images, factors):
    described = RECIPES[recipe].model_dump()
    found = residue(described, -(-images // described["batch_size"]))
    for epoch, factor in zip(EPOCHS, factors, strict=True):
        digits = len(str(factor).split(".")[1])
        assert found[epoch] == pytest.approx(factor, abs=0.51 * 10**-digits)


def test_the_simulation_is_what_the_optimizer_does():
    described = RECIPES["vgg"].model_dump() | {"epochs": 40, "step_epochs": 7}
    weight = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(weight.weight)
    stepping = optimizer(described, weight)
    for epoch in range(described["epochs"]):
        for group in stepping.param_groups:
            group["lr"] = rate(described, epoch)
        for _ in range(3):
            weight.weight.grad = torch.zeros_like(weight.weight)
            stepping.step()
        assert weight.weight.item() == pytest.approx(
            residue(described | {"epochs": epoch + 1}, 3)[epoch + 1], rel=1e-12
        )
