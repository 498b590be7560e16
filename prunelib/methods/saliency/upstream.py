"""The baselines as the authors of OES ran them: their scores, their thresholds, and whatever number that keeps.

All of them start from the mask of non-zero parameters (fresh norm biases are zero, so they are never kept) and read the
budget d as ``sparse`` = 1 - d, which means a share removed to some and a share kept to others. Source: fact card of
OES (ICML 2024), baselines. n counts all parameters, of the network or, in the local forms, of one tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from prunelib.errors import MethodError
from prunelib.masks.mask import Mask, best
from prunelib.methods.common import Scope, nonzero
from prunelib.methods.saliency.slopes import gradient, hessian_product
from prunelib.tasks.base import Task

TINY = 1e-10  # added to every divisor


def sparse(budget: Mapping[str, Any]) -> float:
    """Return the authors' parameter for a density: 1 - d, as one would type it (0.95 for 0.05)."""
    return round(1 - budget["value"], 10)


def random(model: nn.Module, share: float, scope: Scope, generator: torch.Generator) -> Mask:
    """Remove ceil(share * active) of the active entries at random, of all together or of each tensor."""
    scores = {name: torch.rand(parameter.shape, generator=generator) for name, parameter in model.named_parameters()}
    return _removed(scores, nonzero(model), share, scope, generator)


def magnitude(model: nn.Module, share: float, generator: torch.Generator) -> Mask:
    """Remove the ceil(share * active) smallest |w| of the active entries of the whole network."""
    scores = {name: parameter.detach().abs() for name, parameter in model.named_parameters()}
    return _removed(scores, nonzero(model), share, "global", generator)


def snip(task: Task, model: nn.Module, share: float, scope: Scope, batches: int) -> Mask:
    """Keep |g| above the int(share * n)-th largest, g the gradient of the loss: about ``share`` is *kept*."""
    chosen = dict(model.named_parameters())
    slopes = gradient(task, model, chosen, batches)
    return _above({name: slope.abs() for name, slope in zip(chosen, slopes, strict=True)}, model, share, scope)


def synflow(task: Task, model: nn.Module, share: float, scope: Scope) -> Mask:
    """Keep |dR/dw| above the int(share * n)-th largest, R the summed output for the real input: keeps ``share``.

    The network is the real one with the statistics of its input, the weights keep their signs, and there is one round.
    """
    chosen = dict(model.named_parameters())
    inputs, _ = next(iter(task.batches("search", 1)))
    slopes = torch.autograd.grad(model(inputs).sum(), list(chosen.values()), materialize_grads=True)
    return _above({name: slope.abs() for name, slope in zip(chosen, slopes, strict=True)}, model, share, scope)


def grasp(task: Task, model: nn.Module, share: float, scope: Scope, batches: int) -> Mask:
    """Rank by s = d(g . w)/dw = g + H w.

    Globally s / (|sum s| + 1e-10) up to the int(share * n)-th largest is kept, so about 1 - ``share``; locally it is
    |g| / (|s| + 1e-10), divided by its sum, above the int(share * n)-th largest of its tensor, so about ``share``.
    """
    chosen = dict(model.named_parameters())
    slopes = gradient(task, model, chosen, batches)
    weights = [parameter.detach() for parameter in chosen.values()]
    curved = hessian_product(task, model, chosen, weights, batches)
    flow = {name: slope + product for name, slope, product in zip(chosen, slopes, curved, strict=True)}
    if scope == "local":
        ratios = {name: slope.abs() / (flow[name].abs() + TINY) for name, slope in zip(chosen, slopes, strict=True)}
        return _above({name: ratio / (ratio.sum() + TINY) for name, ratio in ratios.items()}, model, share, scope)
    total = sum(part.sum() for part in flow.values()).abs() + TINY
    scores = {name: part / total for name, part in flow.items()}
    limit, start = _threshold(list(scores.values()), share), nonzero(model)
    return Mask({name: (score <= limit).cpu() & start[name] for name, score in scores.items()})


def _removed(scores: Mapping[str, Tensor], start: Mask, share: float, scope: Scope, generator: torch.Generator) -> Mask:
    """Remove the ceil(share * active) lowest scores among the active entries, of all tensors or of each."""
    if scope == "local":
        tensors = ({name: scores[name]} for name in start)
        parts = [
            _removed(one, Mask({name: start[name] for name in one}), share, "global", generator) for one in tensors
        ]
        return Mask({name: kept for part in parts for name, kept in part.items()})
    active = start.kept
    lowest = min(float(score.min()) for score in scores.values()) - 1
    left = {name: score.masked_fill(~start[name].to(score.device), lowest) for name, score in scores.items()}
    return best(left, active - ceil(share * active), generator)


def _above(scores: Mapping[str, Tensor], model: nn.Module, share: float, scope: Scope) -> Mask:
    """Keep what scores above the int(share * n)-th largest of all tensors or of its own, and was active before."""
    start, kept = nonzero(model), {}
    limit = _threshold(list(scores.values()), share) if scope == "global" else None
    for name, score in scores.items():
        least = _threshold([score], share, name) if limit is None else limit
        kept[name] = (score > least).cpu() & start[name]
    return Mask(kept)


def _threshold(scores: list[Tensor], share: float, name: str = "the network") -> Tensor:
    """Return the int(share * n)-th largest of n scores; raises MethodError where that number is 0, as theirs fails."""
    flat = torch.cat([score.detach().reshape(-1) for score in scores])
    rank = int(share * flat.numel())
    if rank == 0:
        raise MethodError(
            f"fidelity 'upstream': int({share:g} * {flat.numel()}) = 0 entries of {name} set no threshold; the "
            f"authors' code fails here too. Allowed: a density of at most {1 - 1 / flat.numel():.4g}."
        )
    if not torch.isfinite(flat).all():
        raise MethodError(f"scores of {name} are not finite; no mask can be ranked from them.")
    return flat.kthvalue(flat.numel() - rank + 1).values
