"""Structural pruning as a method and as a step of the workflow: a trained network -> a smaller one and its record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from prunelib import registry
from prunelib.methods.common import check_options
from prunelib.methods.isomorphic.prune import Choices, prune
from prunelib.methods.isomorphic.ranking import Rules
from prunelib.methods.isomorphic.statistics import Statistics, trained
from prunelib.models.structure import save_structure
from prunelib.options import Count, Fraction, Natural, NonNegative
from prunelib.registry import register
from prunelib.seeds import generator
from prunelib.tasks.base import Task, facts, open_task


@register(
    "method",
    "structural",
    stage="structure",
    parent="dense",
    start="parent",
    budgets=("macs", "gmacs", "parameters", "latency", "ratio"),
    statistics=("taylor", "taylor_abs_of_sum", "fisher"),
)
def structural(
    task: Task,
    budget: Mapping[str, Any],
    random: torch.Generator,
    *,
    parent: Path,
    statistics: Path | None = None,
    mode: Literal["isomorphic", "global", "local", "uniform"] = "isomorphic",
    criterion: Literal["taylor", "taylor_abs_of_sum", "l1", "l2", "fisher", "random"] = "taylor",
    normalize: Literal["mean", "none"] = "mean",
    count: Literal["all", "upstream"] = "all",
    batches: Count = 100,
    rounds: Count = 1,
    round_to: Count = 2,
    min_keep: Count = 1,
    max_ratio: Fraction = 0.95,
    heads: NonNegative = 1.0,
    head_dims: NonNegative = 0.5,
    latency_batch: Count | None = None,
    remove_blocks: Natural = 0,
) -> tuple[nn.Module, dict[str, Any]]:
    """Remove coupled channels, heads and head dimensions from the trained network until it meets the budget.

    Channels are ranked by importance within sets of groups: isomorphic groups, all groups, or each group alone (local;
    uniform also holds all groups strictly to one ratio). One ratio p, solved for, applies to every set (``heads`` · p
    to heads, ``head_dims`` · p to dimensions per head). Budgets: macs, parameters, latency as fractions of the dense
    network's; gmacs, 10⁹ MACs; ratio, p itself, as in the authors' scripts. Latency is measured, so that its solution
    differs from run to run; ``latency_batch`` images (1 where left out) are timed at once.
    normalize: "mean" makes importance relative to the group's mean, as the authors' code does; "none" ranks plain sums.
    count: "upstream" scores without depth-wise convolutions, bare parameters and, for Taylor, batch norms, as theirs.
    batches: of training data, for criteria that need gradients; ``statistics`` is the file of their gradients.
    rounds: prune step by step, with new statistics for each. round_to: kept widths are multiples of it. min_keep:
    channels that stay in every group; max_ratio: share of every group that may go. remove_blocks: so many residual
    blocks of the last stage but one go first, the least important ones (as the authors shorten ConvNeXt).
    Returns the smaller network and a record in plain types. Source: Fang et al. 2024; solving for a budget, floors and
    caps and rounding to the nearest multiple are ours (the authors tuned p by hand).
    Raises MethodError when the budget can't be reached or the pruned network does not run.
    """
    options = {"latency_batch": latency_batch, "remove_blocks": remove_blocks, "criterion": criterion}
    check_options("structural", budget=budget["kind"], **options)
    rules = Rules(mode, round_to, min_keep, max_ratio, heads, head_dims)
    choices = Choices(rules, criterion, normalize, count, batches, rounds, latency_batch or 1, remove_blocks)
    model = trained(task, parent)
    given = Statistics.load(statistics) if statistics is not None else None
    if given is not None:
        given.check(model, batches, statistics)
    model, record = prune(model, task, budget, choices, random, given)
    return model.train(), record


def prune_structure(
    settings: Mapping[str, Any],
    data: str | Path,
    parent: str | Path,
    outputs: Mapping[str, Path],
    device: str = "cpu",
    statistics: str | Path | None = None,
) -> None:
    """Prune one run's dense parent and write ``outputs["weights"]`` (safetensors) and ``outputs["record"]`` (JSON).

    The method's generator only breaks ties and draws random scores. Raises MethodError and ArtefactError as they arise.
    """
    task = open_task(settings, data, device)
    method = registry.load("method", settings["method"]["uses"])
    files = {"parent": Path(parent)} | ({"statistics": Path(statistics)} if statistics is not None else {})
    random = generator(settings["seed"], "ties")
    model, pruning = method(task, settings["budget"], random, **files, **settings["method"]["options"])
    record = {
        "model": dict(settings["model"]),
        "facts": facts(task, settings["model"]["builder"]),
        "input": list(task.example.shape[1:]),
        "blocks": pruning["blocks"],
        "pruning": pruning,
    }
    save_structure(model, record, outputs["weights"], outputs["record"])
