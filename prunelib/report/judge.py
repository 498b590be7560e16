"""Decide the claims of prunelib.report.claims on a table of runs: pair, subtract, compare, conclude."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import pandas as pd

from prunelib.report.claims import CLAIMS, EQUAL_WITHIN, MIN_PAIRS, Check, Outcome
from prunelib.runs import Budget

Verdict = Literal["holds", "partly", "does not hold here", "not enough data"]
ROUNDING = 1e-9  # a difference of exactly the margin must not be decided by the last bit
OUTCOME_COLUMNS = (
    "paper", "verdict", "check", "text", "metric", "outcome", "pairs", "seeds", "left", "right", "mean", "sd", "note"
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What one check found: mean of each side, mean and sd of sign * (left - right), in the metric's own unit."""

    check: Check
    outcome: Outcome
    pairs: int = 0
    seeds: int = 0
    left: float | None = None
    right: float | None = None
    mean: float | None = None
    sd: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Judgement:
    """A paper's verdict and the results of its checks."""

    paper: str
    verdict: Verdict
    results: tuple[Result, ...]


def judge(runs: pd.DataFrame, claims: Mapping[str, Sequence[Check]] = CLAIMS) -> list[Judgement]:
    """Judge every claim on a table of all runs; a paper without runs gets "not enough data"."""
    judgements = []
    for paper, checks in claims.items():
        mine = runs[runs.paper == paper]
        results = tuple(decide(mine, check) for check in checks)
        judgements.append(Judgement(paper, verdict(results), results))
    return judgements


def verdict(results: Sequence[Result]) -> Verdict:
    """Conclude: all yes = holds, some = partly, none and a no = does not hold here, else not enough data.

    Effects have no say in it.
    """
    results = [result for result in results if not result.check.effect]
    answers = [result.outcome for result in results if result.outcome != "no data"]
    if any(result.outcome == "no data" and not result.check.optional for result in results) or not answers:
        return "not enough data"
    if all(answer == "yes" for answer in answers):
        return "holds"
    if "yes" in answers:
        return "partly"
    return "does not hold here" if "no" in answers else "not enough data"


def decide(runs: pd.DataFrame, check: Check) -> Result:
    """Answer one check on the runs of its paper."""
    if check.smallest:
        runs = smallest_budget(runs, check.smallest)
    left, right = _side(runs, check.left), _side(runs, check.right)
    pairs, unequal = _pairs(left, right, check)
    note = _note(left, right, unequal, check)
    if pairs.empty:
        return Result(check, _answer_of_the_dead(left, right), note=note)
    mean, seeds = float(pairs.difference.mean()), int(pairs.seed.nunique())
    sd = float(pairs.difference.std()) if len(pairs) > 1 else None
    sides = (float(pairs[check.metric].mean()), float(pairs.right.mean()))
    return Result(check, answer(check, mean, sd, len(pairs)), len(pairs), seeds, *sides, mean, sd, note)


def answer(check: Check, mean: float, sd: float | None, pairs: int) -> Outcome:
    """Compare a mean difference with its margin and standard error by the rules of prunelib.report.claims."""
    if sd is None or pairs < MIN_PAIRS:
        return "no data"
    bar = max(check.margin, sd / math.sqrt(pairs)) + ROUNDING
    if mean < -bar:
        return "no"
    floor = bar if check.needs == "above" else -check.margin - ROUNDING
    return "yes" if mean > floor else "unclear"


def smallest_budget(runs: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Keep the runs at the smallest budget of one kind, per task and model."""
    budgets = runs.budget.map(Budget.parse)
    runs = runs.assign(value=[budget.value if budget.kind == kind else float("nan") for budget in budgets])
    least = runs.groupby(["task", "model"])["value"].transform("min")
    return runs[runs.value == least].drop(columns="value")


def outcome_rows(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Return the table of all checks: one row each, in the order of the claims."""
    return [
        {
            "paper": judgement.paper,
            "verdict": judgement.verdict,
            "check": result.check.name,
            "text": result.check.text,
            "metric": result.check.metric,
            "outcome": result.outcome,
            "pairs": result.pairs,
            "seeds": result.seeds,
            "left": result.left,
            "right": result.right,
            "mean": result.mean,
            "sd": result.sd,
            "note": result.note,
        }
        for judgement in judgements
        for result in judgement.results
    ]


def _side(runs: pd.DataFrame, side: str | float) -> pd.DataFrame | float:
    if isinstance(side, float):
        return side
    fits = [any(fnmatchcase(label, pattern) for pattern in side.split("|")) for label in runs.method]
    return runs[pd.Series(fits, runs.index, dtype=bool)]


def _pairs(left: pd.DataFrame, right: pd.DataFrame | float, check: Check) -> tuple[pd.DataFrame, int]:
    """Return the pairs with their difference, and how many pairs were left out because they were not equal."""
    values = {check.metric, check.equal, check.higher} - {""}
    empty = pd.DataFrame({"difference": [], "seed": []})
    if not values <= set(left.columns):
        return empty, 0
    wanted = [*check.pair_by, *sorted(values)]
    left = left[left.status == "ok"][wanted].dropna()
    if isinstance(right, float):
        return left.assign(right=right, difference=check.sign * (left[check.metric] - right)), 0
    right = right[right.status == "ok"][wanted].dropna()
    pairs = left.merge(right, on=list(check.pair_by), suffixes=("", "_right"))
    pairs["right"] = pairs[f"{check.metric}_right"]
    pairs["difference"] = check.sign * (pairs[check.metric] - pairs.right)
    if check.higher:
        pairs = pairs[pairs[check.higher] > pairs[f"{check.higher}_right"]]
    if not check.equal:
        return pairs, 0
    other = pairs[f"{check.equal}_right"]
    equal = (pairs[check.equal] - other).abs() <= EQUAL_WITHIN * other.abs()
    return pairs[equal], int((~equal).sum())


def _answer_of_the_dead(left: pd.DataFrame, right: pd.DataFrame | float) -> Outcome:
    """Without a single pair: a side whose networks are all dead loses to one that lives."""
    if isinstance(right, float):
        return "no data"
    alive = [(side.status == "ok").sum() for side in (left, right)]
    dead = [(side.status == "dead").sum() for side in (left, right)]
    if alive[0] >= MIN_PAIRS and dead[1] >= MIN_PAIRS and not alive[1]:
        return "yes"
    return "no" if alive[1] >= MIN_PAIRS and dead[0] >= MIN_PAIRS and not alive[0] else "no data"


def _note(left: pd.DataFrame, right: pd.DataFrame | float, unequal: int, check: Check) -> str:
    notes = []
    for side, name in ((left, check.left), (right, check.right)):
        dead = int((side.status == "dead").sum()) if isinstance(side, pd.DataFrame) else 0
        if dead:
            notes.append(f"{name.split('|')[0].strip('*-_')}: {dead} of {len(side)} networks dead")
    if unequal:
        notes.append(f"{unequal} pairs left out: {check.equal} differs by more than {100 * EQUAL_WITHIN:g} %")
    return "; ".join(notes)
