"""What a classification recipe's fields mean: what is trained, the optimizer, and the learning rate at any time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from prunelib.errors import ConfigError


def frozen(model: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Return the modules whose names match a pattern (with * and ?); raises ConfigError for one that matches none."""
    modules = {name: module for name, module in model.named_modules() if name}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in modules):
            first = ", ".join(name for name, _ in model.named_children())
            raise ConfigError(f"recipe.freeze: '{pattern}' is no module of this network. Its parts are {first}.")
    return [module for name, module in modules.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]


def optimizer(recipe: Mapping[str, Any], model: nn.Module) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over all parameters that are trained.

    decay "all": in one group, so norms and biases decay too, as most published recipes have it; "matrices": vectors and
    what the network itself exempts (tokens, position embeddings) don't, as in timm. momentum and nesterov belong to
    sgd; the other optimizers keep torch's defaults besides lr and weight_decay.
    """
    shared = {"lr": recipe["lr"], "weight_decay": recipe["weight_decay"]}
    trained: Any = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if recipe["decay"] == "matrices":
        from timm.optim import param_groups_weight_decay  # takes a second, which other recipes should not spend

        exempt = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
        trained = param_groups_weight_decay(model, recipe["weight_decay"], no_weight_decay_list=exempt)
    if recipe["optimizer"] == "sgd":
        return torch.optim.SGD(trained, momentum=recipe["momentum"], nesterov=recipe["nesterov"], **shared)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adadelta": torch.optim.Adadelta}
    return kinds[recipe["optimizer"]](trained, **shared)


def rate(recipe: Mapping[str, Any], epoch: float) -> float:
    """Return the learning rate at a time in epochs; a closed form, so that a resumed run needs no schedule's state.

    The time is that of an epoch's begin (0, 1, ...) or, with lr_per "step", of the step's.
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
        for _ in range(int(after // recipe["step_epochs"])):
            if top * recipe["gamma"] <= floor:
                break
            top *= recipe["gamma"]
    return top
