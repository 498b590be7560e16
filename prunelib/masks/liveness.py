"""Liveness: whether a masked network can still learn, found before it is trained for hours in silence."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunelib.masks.mask import Mask

CONSTANT = 1e-12  # an output that varies by less than this part of its size (in float64) is constant


@dataclass(frozen=True)
class Liveness:
    """The verdict: ``why`` names the cause of death, ``dead_layers`` the masked parameters which can't learn."""

    alive: bool
    why: str
    dead_layers: list[str]


def liveness(model: nn.Module, mask: Mask, example: Tensor, loss: Callable[[Tensor], Tensor]) -> Liveness:
    """Apply the mask to a copy of the model and pass ``example`` forward and the loss of the output backward.

    A network is dead when its output is not finite, does not depend on the input, or is constant (the same for every
    input of a batch; of a single input, the same at every position), or when no kept weight gets a gradient. A layer is
    dead when it keeps nothing or when none of its kept weights gets a gradient; a living network may have dead layers.
    Norms use the statistics of the example, dropout is off; arithmetic is float64, so that small is not taken for zero.
    """
    network = _prepared(model, mask)
    inputs = example.detach().double().requires_grad_()
    output = network(inputs)
    if not torch.isfinite(output).all():
        return Liveness(False, "the output is not finite", [])
    loss(output).backward()
    reached = _reached(network, mask)
    dead = [name for name, alive in reached.items() if not alive]
    cause = _cause(mask, output.detach(), inputs, reached)
    return Liveness(not cause, cause, dead)


def _prepared(model: nn.Module, mask: Mask) -> nn.Module:
    network = copy.deepcopy(model).double().requires_grad_().train()
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    mask.apply_(network)
    network.zero_grad()
    return network


def _reached(network: nn.Module, mask: Mapping[str, Tensor]) -> dict[str, bool]:
    """Whether any kept entry of each masked parameter gets a gradient."""
    parameters = dict(network.named_parameters())
    gradients = {name: parameters[name].grad for name in mask}
    return {
        name: gradient is not None and bool(gradient[mask[name].to(gradient.device)].any())
        for name, gradient in gradients.items()
    }


def _cause(mask: Mask, output: Tensor, inputs: Tensor, reached: Mapping[str, bool]) -> str:
    """Return why the network is dead, or nothing; the layers that keep nothing are named, they are the usual reason."""
    empty = [name for name, kept in mask.items() if not kept.any()]
    where = f"; nothing is kept of {_listed(empty)}" if empty else ""
    if mask.kept == 0:
        return "the mask keeps nothing"
    if inputs.grad is None or not inputs.grad.any():
        return f"the output does not depend on the input{where}"
    if _constant(output):
        return f"the output is constant{where}"
    if not any(reached.values()):
        return f"no gradient reaches a kept weight{where}"
    return ""


def _constant(output: Tensor) -> bool:
    """Whether a batch's outputs are all equal, or a single output is equal at all positions of each channel."""
    values = output if len(output) > 1 else output[0].flatten(1).T
    spread = (values.amax(0) - values.amin(0)).max()
    return bool(spread <= CONSTANT * values.abs().max())


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
