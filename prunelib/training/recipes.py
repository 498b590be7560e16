"""What a classification recipe's fields mean: the optimizer, and the learning rate of every epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def optimizer(recipe: Mapping[str, Any], model: nn.Module) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over all parameters in one group (so norms and biases decay too, as published).

    momentum and nesterov belong to sgd; the other optimizers keep torch's defaults besides lr and weight_decay.
    """
    shared = {"lr": recipe["lr"], "weight_decay": recipe["weight_decay"]}
    if recipe["optimizer"] == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=recipe["momentum"], nesterov=recipe["nesterov"], **shared)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adadelta": torch.optim.Adadelta}
    return kinds[recipe["optimizer"]](model.parameters(), **shared)


def rate(recipe: Mapping[str, Any], epoch: int) -> float:
    """Return the learning rate of an epoch (0-based); a closed form, so that a resumed run needs no schedule's state.

    Warm-up of w epochs: lr · (epoch + 1) / (w + 1). After it, with t = epoch - w:
    constant: lr.  cosine: min_lr + (lr - min_lr) · (1 + cos(π t / (epochs - w))) / 2.
    step: lr · gamma^(t // step_epochs), but the step that would take the rate to min_lr or below is not taken, nor are
    those after it (expanders, section 3).
    """
    top, floor, warm_up = recipe["lr"], recipe["min_lr"], recipe["warmup_epochs"]
    if epoch < warm_up:
        return top * (epoch + 1) / (warm_up + 1)
    after = epoch - warm_up
    if recipe["schedule"] == "cosine":
        return floor + (top - floor) * (1 + math.cos(math.pi * after / (recipe["epochs"] - warm_up))) / 2
    if recipe["schedule"] == "step":
        for _ in range(after // recipe["step_epochs"]):
            if top * recipe["gamma"] <= floor:
                break
            top *= recipe["gamma"]
    return top
