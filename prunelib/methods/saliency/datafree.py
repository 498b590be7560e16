"""The scores that look at no data: a random one, the same with densities per layer (ERK), and the initial magnitude."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch

from prunelib.methods.common import Found, check_options
from prunelib.methods.expander.layers import Layer, modules_of
from prunelib.methods.saliency import upstream
from prunelib.methods.saliency.quota import quota, share
from prunelib.registry import register
from prunelib.tasks.base import Task


@register("method", "random", stage="mask", parent="none", budgets=("density", "degree"))
def random(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    scope: Literal["global", "local"] = "global",
    prune: Literal["weights", "all"] | None = None,
    fidelity: Literal["corrected", "upstream"] = "corrected",
    repair: Literal["none", "layer", "weights"] = "none",
    dense_first: bool = False,
) -> Found:
    """Keep int(density * N) entries at random, of the whole network ("global") or of each tensor ("local").

    With a degree it keeps as many weights as the expander of that degree (``quota``; ``dense_first``: whose first layer
    is dense too), locally as many in each layer. prune: weights unless said. fidelity: "upstream" as OES's authors did
    (``upstream.random``). repair: what is done to a dead mask (``prunelib.masks.repair``). Raises MethodError for
    options that contradict each other.
    """
    given = {"fidelity": fidelity, "prune": prune, "repair": repair, "dense_first": dense_first}
    check_options("random", budget=budget["kind"], **given)
    if fidelity == "upstream":
        return Found(upstream.random(task.build(), upstream.sparse(budget), scope, generator))
    chosen, left = quota(task, task.build(), budget, prune, dense_first)
    scores = {name: torch.rand(parameter.shape, generator=generator) for name, parameter in chosen.items()}
    return left.keep(task, scores, generator, scope, repair)


@register("method", "erk", stage="mask", parent="none", budgets=("density", "degree"))
def erk(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    repair: Literal["none", "layer", "weights"] = "none",
    dense_first: bool = False,
) -> Found:
    """Keep random weights, in each layer by Erdos-Renyi-Kernel; together exactly as many as ``random`` keeps.

    A layer's density is that of ``Layer.erk``; eps makes the total, what rounding down leaves goes to the largest
    remainders. Options as in random. Raises MethodError for options that contradict each other.
    """
    check_options("erk", budget=budget["kind"], dense_first=dense_first)
    model = task.build()
    chosen, left = quota(task, model, budget, "weights", dense_first)
    layers = {name: Layer.of(module) for name, module in modules_of(model).items() if name in chosen}
    total = int(left.density * sum(layer.size for layer in layers.values()))
    counts = erk_counts(layers, total)
    spread = replace(left, layers={name: share(count, layers[name].size) for name, count in counts.items()})
    scores = {name: torch.rand(parameter.shape, generator=generator) for name, parameter in chosen.items()}
    return spread.keep(task, scores, generator, "local", repair)


def erk_counts(layers: Mapping[str, Layer], total: int) -> dict[str, int]:
    """Return how many of ``total`` weights each layer keeps by Erdos-Renyi-Kernel; no layer more than it has."""
    weight = {name: float(layer.groups * layer.erk) for name, layer in layers.items()}
    full: set[str] = set()
    while True:  # layers that would be more than full give the rest to the others
        free = [name for name in layers if name not in full]
        eps = (total - sum(layers[name].size for name in full)) / max(sum(weight[name] for name in free), 1.0)
        more = {name for name in free if eps * weight[name] >= layers[name].size}
        if not more:
            break
        full |= more
    exact = {name: float(layers[name].size) if name in full else eps * weight[name] for name in layers}
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(free, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


@register("method", "magnitude", stage="mask", parent="none", budgets=("density", "degree"))
def magnitude(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    scope: Literal["global", "local"] = "global",
    prune: Literal["weights", "all"] | None = None,
    fidelity: Literal["corrected", "upstream"] = "corrected",
    repair: Literal["none", "layer", "weights"] = "none",
    dense_first: bool = False,
) -> Found:
    """Keep the int(density * N) entries of largest initial |w|.

    Default initialisers make the weights of large layers small, so the global ranking may empty these layers. A degree
    and ``dense_first``: as in random.
    fidelity: "upstream" as OES's authors did (``upstream.magnitude``). repair: what is done to a dead mask
    (``prunelib.masks.repair``). Raises MethodError for options that contradict each other.
    """
    given = {"fidelity": fidelity, "prune": prune, "repair": repair, "dense_first": dense_first, "scope": scope}
    check_options("magnitude", budget=budget["kind"], **given)
    if fidelity == "upstream":
        return Found(upstream.magnitude(task.build(), upstream.sparse(budget), generator))
    chosen, left = quota(task, task.build(), budget, prune, dense_first)
    scores = {name: parameter.abs() for name, parameter in chosen.items()}
    return left.keep(task, scores, generator, scope, repair)
