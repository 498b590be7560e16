"""SynFlow: prune by synaptic flow through the linearised network, in many small rounds, without data."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunelib.methods.common import Found, check_options
from prunelib.methods.saliency import upstream
from prunelib.methods.saliency.quota import quota
from prunelib.methods.saliency.rounds import in_rounds
from prunelib.options import Count
from prunelib.registry import register
from prunelib.tasks.base import Task

CHANNEL_NORMS = nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm
CURVED = nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.ELU, nn.Softmax
ROUNDS = 100  # published


@register("method", "synflow", stage="mask", parent="none", budgets=("density", "degree"))
def synflow(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    rounds: Count | None = None,
    scope: Literal["global", "local"] = "global",
    prune: Literal["weights", "all"] | None = None,
    fidelity: Literal["corrected", "upstream"] = "corrected",
    repair: Literal["none", "layer", "weights"] = "none",
    dense_first: bool = False,
) -> Found:
    """Keep the int(density * N) entries of largest |w * dR/dw|, R the summed output of the linearised network for ones.

    Round k of ``rounds`` (100) keeps density^(k / rounds) and scores what is left again; ties stay until the last one.
    A degree and ``dense_first``: as in random. fidelity: "upstream" ranks as OES's authors did (``upstream.synflow``:
    one round, keeps 1 - density of everything). repair: what is done to a dead mask (``prunelib.masks.repair``). Raises
    MethodError for options that contradict.
    Source: Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow (2020).
    """
    given = {"fidelity": fidelity, "prune": prune, "repair": repair, "dense_first": dense_first, "rounds": rounds}
    check_options("synflow", budget=budget["kind"], **given)
    if fidelity == "upstream":
        return Found(upstream.synflow(task, task.build().train(), upstream.sparse(budget), scope))
    network = linearised(task.build())
    chosen, left = quota(task, network, budget, prune, dense_first)
    ones = torch.ones_like(task.example[:1], dtype=torch.float64)
    scores = in_rounds(lambda: _flow(network, chosen, ones), chosen, left, ROUNDS if rounds is None else rounds, scope)
    return left.keep(task, scores, generator, scope, repair)


def linearised(model: nn.Module) -> nn.Module:
    """Return a float64 copy that is linear in its input for positive inputs, every parameter replaced by its size.

    A norm becomes |weight| * x + |bias| without statistics, a curved activation the identity; ReLU and its leaky kin
    are the identity here already. Dropout is off.
    """
    network = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, (*CHANNEL_NORMS, nn.LayerNorm)):
                setattr(parent, name, _Affine(child))
            elif isinstance(child, CURVED):
                setattr(parent, name, nn.Identity())
    return network


class _Affine(nn.Module):
    """A norm without its statistics; its parameters keep their names."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.per_channel = isinstance(norm, CHANNEL_NORMS)

    def forward(self, x: Tensor) -> Tensor:
        for parameter, combine in ((self.weight, torch.mul), (self.bias, torch.add)):
            if parameter is not None:
                shape = (-1, *[1] * (x.dim() - 2)) if self.per_channel else parameter.shape
                x = combine(x, parameter.reshape(shape))
        return x


def _flow(network: nn.Module, chosen: Mapping[str, Tensor], ones: Tensor) -> dict[str, Tensor]:
    """Return |w * dR/dw|."""
    slopes = torch.autograd.grad(network(ones).sum(), list(chosen.values()), materialize_grads=True)
    return {name: (slope * chosen[name].detach()).abs() for name, slope in zip(chosen, slopes, strict=True)}
