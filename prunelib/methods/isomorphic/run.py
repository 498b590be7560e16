"""Structural pruning as a method and as a step of the workflow: a trained network -> a smaller one and its record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunelib import registry
from prunelib.errors import ArtefactError, MethodError
from prunelib.measure.cost import macs, parameters
from prunelib.methods.isomorphic.groups import Fixed, Group, find_groups
from prunelib.methods.isomorphic.importance import (
    Criterion,
    Normalize,
    gradients,
    group_scores,
    random_scores,
    saliencies,
)
from prunelib.methods.isomorphic.ranking import Ranking, Rules
from prunelib.methods.isomorphic.removal import kept_layout, remove_
from prunelib.methods.isomorphic.target import Arithmetic, Solution, solve
from prunelib.models.structure import save_structure
from prunelib.options import Count, NonNegative, Share
from prunelib.registry import register
from prunelib.seeds import generator
from prunelib.storage.weights import load_weights
from prunelib.tasks.base import Task, facts, open_task


@register("method", "structural", stage="structure", parent="dense", start="parent", budgets=("macs",))
def structural(
    task: Task,
    budget: Mapping[str, Any],
    random: torch.Generator,
    *,
    parent: Path,
    mode: Literal["isomorphic", "global", "local"] = "isomorphic",
    criterion: Literal["taylor", "l1", "l2", "random"] = "taylor",
    normalize: Literal["mean", "none"] = "mean",
    batches: Count = 100,
    round_to: Count = 2,
    min_keep: Share = 0.05,
    heads: NonNegative = 1.0,
    head_dims: NonNegative = 0.5,
) -> tuple[nn.Module, dict[str, Any]]:
    """Remove coupled channels, heads and head dimensions from the trained network until its MACs meet the budget.

    Channels are ranked by importance within sets of groups: isomorphic groups, all groups, or each group alone. With
    normalize "mean" importance is relative to the group's mean, as in the authors' code; "none" ranks plain sums. One
    ratio p, solved for, applies to every set (``heads`` · p to heads, ``head_dims`` · p to dimensions per head).
    batches: for the Taylor criterion. round_to: kept widths are multiples of it. min_keep: share of every group that
    stays. Returns the smaller network and a record in plain types. Source: Fang et al. 2024; solving for MACs, the
    floor and rounding to the nearest multiple are ours (the authors tuned p by hand).
    Raises MethodError when the budget can't be reached or the pruned network does not run.
    """
    model = _trained(task, parent)
    groups, fixed = find_groups(model, task.example)
    if not groups:
        raise MethodError(f"no group of channels can be pruned here: {_reasons(fixed)}.")
    scores = _scores(model, task, groups, criterion, normalize, batches, random)
    rules = Rules(mode, round_to, min_keep, heads, head_dims)
    solution = solve(Ranking(groups, scores, rules, random), Arithmetic(model, task.example, groups), budget["value"])
    sizes = _cut_(model, task, groups, solution)
    return model.train(), {
        "mode": mode,
        "criterion": criterion,
        "normalize": normalize,
        "ratio": solution.ratio,
        "requested": budget["value"],
        "realised": sizes["pruned"]["macs"] / sizes["dense"]["macs"],
        **sizes,
        "groups": _table(groups, scores, solution),
        "fixed": [{"name": found.name, "channels": found.size, "why": found.why} for found in fixed],
    }


def prune_structure(
    settings: Mapping[str, Any], data: str | Path, parent: str | Path, outputs: Mapping[str, Path], device: str = "cpu"
) -> None:
    """Prune one run's dense parent and write ``outputs["weights"]`` (safetensors) and ``outputs["record"]`` (JSON).

    The method's generator only breaks ties and draws random scores. Raises MethodError and ArtefactError as they arise.
    """
    task = open_task(settings, data, device)
    entry = registry.entry("method", settings["method"]["uses"])
    random = generator(settings["seed"], "ties")
    method = entry.load()
    model, pruning = method(task, settings["budget"], random, parent=Path(parent), **settings["method"]["options"])
    record = {
        "model": dict(settings["model"]),
        "facts": facts(task, settings["model"]["builder"]),
        "pruning": pruning,
    }
    save_structure(model, record, outputs["weights"], outputs["record"])


def _trained(task: Task, parent: Path) -> nn.Module:
    model, state = task.build(), load_weights(parent)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ArtefactError(f"{parent}: not the weights of this run's network ({reason}).") from None
    return model


def _scores(
    model: nn.Module,
    task: Task,
    groups: list[Group],
    criterion: Criterion,
    normalize: Normalize,
    batches: int,
    random: torch.Generator,
) -> dict[str, Tensor]:
    if criterion == "random":
        return random_scores(groups, random)
    slopes = gradients(model, task, batches) if criterion == "taylor" else None
    return group_scores(model, groups, saliencies(model, criterion, slopes), normalize)


def _cut_(model: nn.Module, task: Task, groups: list[Group], solution: Solution) -> dict[str, dict[str, int]]:
    """Remove the channels in place and check that the network still runs; return sizes before and after."""
    shape, dense = _shape(model, task), _size(model, task)
    remove_(model, groups, solution.removed)
    if _shape(model, task) != shape:
        raise MethodError("the pruned network's outputs have another shape than the dense one's.")
    return {"dense": dense, "pruned": _size(model, task)}


def _size(model: nn.Module, task: Task) -> dict[str, int]:
    return {"macs": macs(model, task.example), "parameters": parameters(model)}


def _shape(model: nn.Module, task: Task) -> tuple[int, ...]:
    """Return the output's shape; a network that no longer runs, or gives no finite numbers, raises MethodError."""
    try:
        with torch.no_grad():
            output = model.eval()(task.example)
    except RuntimeError as error:
        raise MethodError(
            f"{type(model).__name__} does not run ({error}); not all its layers can be followed."
        ) from None
    if not torch.isfinite(output).all():
        raise MethodError(f"{type(model).__name__}: its outputs are not finite; it can't be pruned from these weights.")
    return tuple(output.shape)


def _reasons(fixed: list[Fixed]) -> str:
    return "; ".join(f"{found.name} {found.why}" for found in fixed) or "it has no convolution or linear layer"


def _table(groups: list[Group], scores: Mapping[str, Tensor], solution: Solution) -> list[dict[str, Any]]:
    """Return one row per group: its isomorphic set, widths before and after, heads, quartiles of its scores."""
    sets = {signature: index for index, signature in enumerate(dict.fromkeys(group.signature for group in groups))}
    rows = []
    for group in groups:
        removed = solution.removed.get(group.name)
        row = {
            "name": group.name,
            "set": sets[group.signature],
            "before": group.size,
            "after": group.size - (0 if removed is None else len(removed)),
            "score_quartiles": [round(value, 6) for value in scores[group.name].quantile(QUARTILES).tolist()],
        }
        if group.attention is not None:
            row["heads"] = [[group.attention.heads, group.attention.head_dim], list(kept_layout(group, removed))]
        rows.append(row)
    return rows


QUARTILES = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
