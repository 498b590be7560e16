"""Structural pruning in memory: a trained network and a budget -> a smaller network and the record of what was done."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunelib.channels.coupling import Fixed, Group
from prunelib.channels.groups import find_groups
from prunelib.channels.removal import kept_layout, remove_
from prunelib.errors import MethodError
from prunelib.measure.cost import macs, parameters
from prunelib.methods.isomorphic.arithmetic import Arithmetic
from prunelib.methods.isomorphic.blocks import remove_blocks_, score_blocks
from prunelib.methods.isomorphic.importance import (
    FROM_DATA,
    Counted,
    Criterion,
    Normalize,
    group_scores,
    random_scores,
    saliencies,
    upstream_leaves_out,
)
from prunelib.methods.isomorphic.ranking import Ranking, Rules, layout_of
from prunelib.methods.isomorphic.speed import Stopwatch
from prunelib.methods.isomorphic.statistics import Statistics, gather
from prunelib.methods.isomorphic.target import MET, Solution, Target, at_ratio, bisect_measured, solve
from prunelib.tasks.base import Task

TRIES = 6  # corrections of a goal by arithmetic when the real network costs something else
DECILES = torch.linspace(0, 1, 11, dtype=torch.float64)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choices:
    """How to score and rank, and in how many rounds to get there; ``rules`` say what may go (``ranking.Rules``).

    ``remove_blocks`` blocks of the last stage but one go before any channel does.
    """

    rules: Rules
    criterion: Criterion
    normalize: Normalize
    count: Counted
    batches: int
    rounds: int
    latency_batch: int
    remove_blocks: int = 0


@dataclass(frozen=True, eq=False)
class Round:
    """One round's findings: the groups of the network as it came, their scores, what was removed, what that cost."""

    groups: list[Group]
    fixed: list[Fixed]
    scores: dict[str, Tensor]
    solution: Solution
    at_floor: set[str]
    sizes: dict[str, int]


def prune(
    model: nn.Module,
    task: Task,
    budget: Mapping[str, Any],
    choices: Choices,
    random: torch.Generator,
    statistics: Statistics | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Return a smaller network that meets ``budget`` ({"kind", "value"}), and the record in plain types.

    ``statistics``: of ``model``; where a criterion needs them and none are given, and again in every further round,
    they are gathered from the task's training batches. ``model`` itself keeps its widths.
    Raises MethodError when the budget can't be reached or the pruned network does not run.
    """
    dense, shape = model, _shape(model, task)
    stopwatch = Stopwatch(dense, task.example, choices.latency_batch) if budget["kind"] == "latency" else None
    found: list[Round] = []
    blocks: dict[str, list[int]] = {}
    if choices.remove_blocks:
        statistics = statistics or _statistics(model, task, choices)
        model, blocks, statistics = _fewer_blocks(model, choices, statistics)
    for index in range(choices.rounds):
        if index or statistics is None:
            statistics = _statistics(model, task, choices)
        groups, fixed = find_groups(model, task.example)
        if not groups:
            raise MethodError(f"no group of channels can be pruned here: {_reasons(fixed)}.")
        scores = _scores(model, groups, choices, statistics, random)
        layouts = {group.name: layout_of(group) for group in (found[0].groups if found else groups)}
        ranking = Ranking(groups, scores, choices.rules, random, layouts)
        goal = _Goal(budget, task, _size(dense, task), (index + 1) / choices.rounds, stopwatch)
        model, solution = goal.reach(model, groups, ranking)
        at_floor = ranking.at_floor(solution.removed)
        found.append(Round(groups, fixed, scores, solution, at_floor, _size(model, task)))
    if _shape(model, task) != shape:
        raise MethodError("the pruned network's outputs have another shape than the dense one's.")
    return model, _record(budget, choices, _size(dense, task), found, stopwatch, model) | {"blocks": blocks}


def cut(model: nn.Module, groups: list[Group], removed: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of the network without the given channels (ids by group name)."""
    smaller = copy.deepcopy(model.train().eval())  # without the tables that some modules cache in evaluation mode
    remove_(smaller, groups, removed)
    return smaller


def _fewer_blocks(
    model: nn.Module, choices: Choices, statistics: Statistics | None
) -> tuple[nn.Module, dict[str, list[int]], Statistics | None]:
    """Return a copy without the least important blocks, which stay where, and the statistics of what is left.

    The authors remove blocks after channels; here they go first, so that a budget can be solved for.
    """
    scores = score_blocks(model, saliencies(model, choices.criterion, statistics))
    smaller = copy.deepcopy(model.train().eval())
    path, kept = remove_blocks_(smaller, scores, choices.remove_blocks)
    return smaller, {path: kept}, statistics and statistics.without_blocks(path, kept)


class _Goal:
    """What one round is to reach: its share of the way from the dense network to the budget."""

    def __init__(
        self, budget: Mapping[str, Any], task: Task, dense: dict[str, int], share: float, stopwatch: Stopwatch | None
    ) -> None:
        self.budget, self.task, self.dense, self.share, self.stopwatch = budget, task, dense, share, stopwatch

    def reach(self, model: nn.Module, groups: list[Group], ranking: Ranking) -> tuple[nn.Module, Solution]:
        """Return the network that meets the goal, and the solution that led to it."""
        if self.stopwatch is not None:
            time = self.stopwatch.share_of
            amount = 1 - (1 - Target.of(self.budget).amount(1.0)) * self.share
            solution = bisect_measured(ranking, lambda removed: time(cut(model, groups, removed)), amount)
            return cut(model, groups, solution.removed), solution
        arithmetic = Arithmetic(model, self.task.example, groups)
        if self.budget["kind"] == "ratio":
            solution = at_ratio(ranking, self.budget["value"] * self.share, arithmetic.macs)
            return cut(model, groups, solution.removed), solution
        return self._solved(model, groups, ranking, arithmetic)

    def _solved(
        self, model: nn.Module, groups: list[Group], ranking: Ranking, arithmetic: Arithmetic
    ) -> tuple[nn.Module, Solution]:
        """Solve by arithmetic; where the real network costs something else, aim beside the target by as much."""
        target = Target.of(self.budget)
        dense = self.dense[target.metric]
        amount = dense - (dense - target.amount(dense)) * self.share
        aim, best = amount, None
        for _ in range(TRIES):
            solution = solve(ranking, getattr(arithmetic, target.metric), aim)
            smaller = cut(model, groups, solution.removed)
            real = _size(smaller, self.task)[target.metric]
            if best is None or abs(real - amount) < best[0]:
                best = abs(real - amount), smaller, solution
            if abs(real - solution.cost) <= MET / 10 * amount or best[0] <= MET / 2 * amount:
                break
            aim *= amount / real
        return best[1:]


def _statistics(model: nn.Module, task: Task, choices: Choices) -> Statistics | None:
    if choices.criterion not in FROM_DATA:
        return None
    return gather(model, task, choices.batches, squares=choices.criterion == "fisher")


def _scores(
    model: nn.Module, groups: list[Group], choices: Choices, statistics: Statistics | None, random: torch.Generator
) -> dict[str, Tensor]:
    if choices.criterion == "random":
        return random_scores(groups, random)
    left_out = upstream_leaves_out(choices.criterion) if choices.count == "upstream" else None
    return group_scores(model, groups, saliencies(model, choices.criterion, statistics), choices.normalize, left_out)


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


def _record(
    budget: Mapping[str, Any],
    choices: Choices,
    dense: dict[str, int],
    found: list[Round],
    stopwatch: Stopwatch | None,
    model: nn.Module,
) -> dict[str, Any]:
    """Say what was asked for, what was reached, and what happened to every group."""
    pruned = found[-1].sizes
    latency = stopwatch.compare(model) if stopwatch else None
    realised = _realised(budget, dense, pruned, latency)
    met = abs(realised - budget["value"]) <= MET * budget["value"]
    if not met:
        log.warning("asked for %s %g, reached %g: widths are too coarse", *budget.values(), realised)
    rules = choices.rules
    return {
        "mode": rules.mode,
        "criterion": choices.criterion,
        "normalize": choices.normalize,
        "count": choices.count,
        "budget": budget["kind"],
        "requested": budget["value"],
        "realised": realised,
        "met": met,
        "ratio": found[-1].solution.ratio,
        "dense": dense,
        "pruned": pruned,
        "rounds": [{"ratio": each.solution.ratio, **each.sizes} for each in found],
        **({"latency": latency} if latency else {}),
        "groups": _table(found),
        "fixed": [{"name": each.name, "channels": each.size, "why": each.why} for each in found[-1].fixed],
    }


def _realised(
    budget: Mapping[str, Any], dense: dict[str, int], pruned: dict[str, int], latency: dict[str, Any] | None
) -> float:
    """Return what was reached in the budget's own unit; a ratio is applied as it is."""
    kind = budget["kind"]
    if kind == "ratio":
        return budget["value"]
    if latency:
        return latency["share"]
    return pruned["macs"] / 1e9 if kind == "gmacs" else pruned[kind] / dense[kind]


def _table(found: list[Round]) -> list[dict[str, Any]]:
    """Return one row per group of the dense network.

    set: number of its isomorphic set; before, after: widths; at_floor: nothing more of it may go; score_deciles: least
    to greatest score in the dense network, in tenths; heads: [heads, dimensions per head] before and after.
    """
    first, last = found[0], found[-1]
    sets = {
        signature: index for index, signature in enumerate(dict.fromkeys(group.signature for group in first.groups))
    }
    final = {group.name: group for group in last.groups}
    rows = []
    for group in first.groups:
        removed = last.solution.removed.get(group.name)
        row = {
            "name": group.name,
            "set": sets[group.signature],
            "before": group.size,
            "after": final[group.name].size - (0 if removed is None else len(removed)),
            "at_floor": group.name in last.at_floor,
            "score_deciles": [round(value, 6) for value in first.scores[group.name].quantile(DECILES).tolist()],
        }
        if group.attention is not None:
            before = [group.attention.heads, group.attention.head_dim]
            row["heads"] = [before, list(kept_layout(final[group.name], removed))]
        rows.append(row)
    return rows
