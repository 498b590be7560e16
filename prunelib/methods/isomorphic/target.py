"""Solve for a budget: the ratio at which the pruned network costs what it may, by bisection on its widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from heapq import nsmallest
from itertools import combinations_with_replacement
from typing import Any, Literal

from torch import Tensor

from prunelib.errors import MethodError
from prunelib.methods.isomorphic.ranking import Ranking

Metric = Literal["macs", "parameters", "latency"]
Steps = tuple[int, ...]  # how many every set takes
Move = tuple[int, int]  # (set, one step more or less)
Cost = Callable[[Mapping[str, Tensor]], float]  # of the network once these channels are removed
HALVINGS = 40  # of [0, 1]: finer than any network's granularity
PAIRS = 16  # of two single steps that are tried where no single one helps
NEAR = 0.002  # of the target; single steps beyond the one ratio are taken only to get this near
MET = 0.01  # of the target: what counts as reached


@dataclass(frozen=True)
class Target:
    """What the pruned network may cost: ``value`` times the dense one's cost, or ``value`` itself where absolute.

    Units of absolute values: MACs of one input, parameters; latency is relative only.
    """

    metric: Metric
    value: float
    absolute: bool = False

    @classmethod
    def of(cls, budget: Mapping[str, Any]) -> Target:
        """Read a budget of the kinds macs, parameters, latency (fractions) and gmacs (10⁹ MACs)."""
        if budget["kind"] == "gmacs":
            return cls("macs", 1e9 * budget["value"], absolute=True)
        return cls(budget["kind"], budget["value"])

    def amount(self, dense: float) -> float:
        """Return the allowed cost of a network that costs ``dense`` now; raises MethodError for more than that."""
        wanted = self.value if self.absolute else self.value * dense
        if wanted > dense:
            raise MethodError(f"budget {self}: the dense network has {dense:.4g} {self.metric} only; ask for less.")
        return wanted

    def __str__(self) -> str:
        return f"{self.metric} {self.value:g}"


@dataclass(frozen=True)
class Solution:
    """The ratio found, the steps every set takes at it, what they remove, and the cost that is then left."""

    ratio: float
    steps: Steps
    removed: dict[str, Tensor]
    cost: float


def at_ratio(ranking: Ranking, ratio: float, cost: Cost) -> Solution:
    """Return what one given ratio removes."""
    steps = ranking.counts(ratio)
    removed = ranking.removed(steps)
    return Solution(ratio, steps, removed, cost(removed))


def solve(ranking: Ranking, cost: Cost, amount: float) -> Solution:
    """Find the ratio at which ``cost`` lies nearest to ``amount``, by bisection.

    Where several sets take their next step at the same ratio, only the first of them (in traversal order) may take it;
    a remaining gap is closed by single steps of one or two sets, and at last by one of a single group, so that all
    modes are compared at the same cost. In mode "uniform" all groups keep to the one ratio instead.
    Raises MethodError when even the largest ratio leaves too much, because of floors, rounding or fixed layers.
    """

    @cache
    def left(steps: Steps) -> float:
        return cost(ranking.removed(steps))

    def gap(steps: Steps) -> float:
        return abs(left(steps) - amount)

    if left(ranking.counts(1.0)) > amount:
        least, dense = left(ranking.counts(1.0)), left(ranking.counts(0.0))
        raise MethodError(
            f"the smallest network these rules allow still has {least / dense:.3f} of the dense one's cost, "
            f"{amount / dense:.3f} is asked for; lower min_keep or round_to, raise max_ratio, or prune heads and "
            "head_dims too."
        )
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if left(ranking.counts(middle)) > amount else (low, middle)
    few, many = ranking.counts(low), ranking.counts(high)
    if ranking.rules.mode == "uniform":
        best = min(few, many, key=gap)
        return Solution(high, best, ranking.removed(best), left(best))
    best = min((many[:index] + few[index:] for index in range(len(few) + 1)), key=gap)
    best = _close(best, left, amount, ranking.limits)
    found = Solution(high, best, ranking.removed(best), left(best))
    return found if gap(best) <= MET / 2 * amount else _with_exception(ranking, cost, amount, found)


def bisect_measured(ranking: Ranking, cost: Cost, amount: float, tries: int = 12) -> Solution:
    """Find a ratio for a cost that is measured (a time): ``tries`` halvings, then the nearest of all that were tried.

    Raises MethodError when even the largest ratio costs too much.
    """
    tried = [at_ratio(ranking, 1.0, cost)]
    if tried[0].cost > (1 + MET) * amount:
        raise MethodError(
            f"the smallest network these rules allow takes {tried[0].cost / amount:.2f} times the latency asked for; "
            "lower min_keep or round_to, raise max_ratio, prune heads and head_dims too, or time larger batches."
        )
    low, high = 0.0, 1.0
    for _ in range(tries):
        found = at_ratio(ranking, (low + high) / 2, cost)
        tried.append(found)
        low, high = (found.ratio, high) if found.cost > amount else (low, found.ratio)
    return min(tried, key=lambda solution: abs(solution.cost - amount))


def _with_exception(ranking: Ranking, cost: Cost, amount: float, found: Solution) -> Solution:
    """Let one single group take a step more or less than its turn, if that comes nearer."""
    tried = [found]
    for change in ranking.exceptions(found.steps):
        removed = ranking.removed(found.steps, change)
        tried.append(Solution(found.ratio, found.steps, removed, cost(removed)))
    return min(tried, key=lambda solution: abs(solution.cost - amount))


def _close(steps: Steps, left: Callable[[Steps], float], amount: float, limits: Steps) -> Steps:
    """Let single sets take single steps more or less, one or two at a time, while that narrows the gap."""
    while (gap := abs(left(steps) - amount)) > NEAR * amount:
        moves = list(_moves(steps, limits))
        nearer = min(
            (_moved(steps, move) for move in moves), key=lambda found: abs(left(found) - amount), default=steps
        )
        if abs(left(nearer) - amount) >= gap:
            nearer = min(_pairs(steps, moves, left, amount, limits), key=lambda found: abs(left(found) - amount))
        if abs(left(nearer) - amount) >= gap:
            break
        steps = nearer
    return steps


def _moves(steps: Steps, limits: Steps) -> Iterator[Move]:
    for index, limit in enumerate(limits):
        yield from ((index, change) for change in (-1, 1) if 0 <= steps[index] + change <= limit)


def _moved(steps: Steps, *moves: Move) -> Steps:
    found = list(steps)
    for index, change in moves:
        found[index] += change
    return tuple(found)


def _pairs(
    steps: Steps, moves: list[Move], left: Callable[[Steps], float], amount: float, limits: Steps
) -> Iterator[Steps]:
    """Yield ``steps`` and those two moves away that come nearest if two moves cost what each costs by itself."""
    yield steps
    saved = {move: left(_moved(steps, move)) - left(steps) for move in moves}
    pairs = combinations_with_replacement(moves, 2)
    for pair in nsmallest(PAIRS, pairs, key=lambda pair: abs(left(steps) + saved[pair[0]] + saved[pair[1]] - amount)):
        found = _moved(steps, *pair)
        if all(0 <= step <= limit for step, limit in zip(found, limits, strict=True)):
            yield found
