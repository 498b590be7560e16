"""SynFlow: prune by synaptic flow through the linearised network, in many small rounds, without data."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunelib.masks.mask import Mask
from prunelib.methods.common import Found, check_options, covered, ranked, selected
from prunelib.methods.saliency import upstream
from prunelib.options import Count
from prunelib.registry import register
from prunelib.tasks.base import Task

CHANNEL_NORMS = nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm
CURVED = nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.ELU, nn.Softmax
ROUNDS = 100  # published
GONE = -1.0  # below every score: what has been pruned never comes back


@register("method", "synflow", stage="mask", parent="none", budgets=("density",))
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
) -> Found:
    """Keep the int(density * N) entries of largest |w * dR/dw|, R the summed output of the linearised network for ones.

    Round k of ``rounds`` (100) keeps density^(k / rounds) and scores what is left again; ties stay until the last one.
    fidelity: "upstream" ranks as OES's authors did (``upstream.synflow``: one round, keeps 1 - density of everything).
    repair: what is done to a dead mask (``prunelib.masks.repair``). Raises MethodError for options that contradict.
    Source: Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow (2020).
    """
    check_options("synflow", fidelity=fidelity, prune=prune, repair=repair, rounds=rounds)
    if fidelity == "upstream":
        return Found(upstream.synflow(task, task.build().train(), upstream.sparse(budget), scope))
    rounds = ROUNDS if rounds is None else rounds
    network = linearised(task.build())
    chosen = selected(network, covered(prune))
    original = {name: parameter.detach().clone() for name, parameter in chosen.items()}
    ones = torch.ones_like(task.example[:1], dtype=torch.float64)
    density, kept = budget["value"], Mask.ones(original)
    for done in range(1, rounds + 1):
        scores = _flow(network, chosen, original, kept, ones)
        if done < rounds:
            kept = _narrow(scores, kept, density ** (done / rounds), scope)
    return ranked(task, scores, density, generator, scope, repair)


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


def _flow(
    network: nn.Module, chosen: Mapping[str, Tensor], original: Mapping[str, Tensor], kept: Mask, ones: Tensor
) -> dict[str, Tensor]:
    """Return |w * dR/dw| of the network with only the kept entries; pruned ones score below all others."""
    masks = {name: mask.to(ones.device) for name, mask in kept.items()}
    with torch.no_grad():
        for name, parameter in chosen.items():
            parameter.copy_(original[name] * masks[name])
    slopes = torch.autograd.grad(network(ones).sum(), list(chosen.values()), materialize_grads=True)
    return {
        name: (slope * chosen[name].detach()).abs().masked_fill_(~masks[name], GONE)
        for name, slope in zip(chosen, slopes, strict=True)
    }


def _narrow(scores: Mapping[str, Tensor], kept: Mask, density: float, scope: str) -> Mask:
    """Return the mask of the int(density * N) highest scores and all that tie with the lowest of them."""
    groups = [[name] for name in scores] if scope == "local" else [list(scores)]
    masks = {}
    for group in groups:
        flat = torch.cat([scores[name].reshape(-1) for name in group])
        least = flat.kthvalue(max(flat.numel() - int(density * flat.numel()), 1)).values
        masks |= {name: (scores[name] >= least).cpu() & kept[name] for name in group}
    return Mask({name: masks[name] for name in scores})
