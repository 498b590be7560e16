"""Decide the claims of prunelib.report.claims.all on a table of runs: pair, subtract, compare, conclude."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import pandas as pd

from prunelib.report.claims.all import CLAIMS
from prunelib.report.claims.check import EQUAL_WITHIN, MIN_SEEDS, Check, Outcome
from prunelib.report.claims.paired import Paired, flip_p, is_above, limits, paired, t_p
from prunelib.report.tables import LABELS
from prunelib.runs import Budget

Verdict = Literal["holds", "partly", "does not hold here", "not enough data"]
ROUNDING = 1e-9  # a difference of exactly the margin must not be decided by the last bit
LEAST_SPREAD = 0.1  # of the margin: see ``least_sd`` of prunelib.report.claims.paired
# The columns of claims.csv. ``evidence``: "grid", or the folder below results/reference that the runs are recorded in.
OUTCOME_COLUMNS = (
    "evidence", "scale", "paper", "verdict", "check", "text", "metric", "needs", "margin", "outcome", "pairs", "seeds",
    "left", "right", "mean", "sd", "low", "high", "d_z", "p", "p_flip", "bar", "note", "limits", "runs",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What one check found, in the metric's own unit: mean of each side over pairs; over seeds, sign * (left - right).

    ``test``: mean, sd, interval and effect size of that difference over seeds; ``p``, ``p_flip``: the p-values of the
    question that the check asks. ``scale``: of the runs compared; ``runs``: their settings, paths below results/runs.
    """

    check: Check
    outcome: Outcome
    pairs: int = 0
    seeds: int = 0
    left: float | None = None
    right: float | None = None
    test: Paired | None = None
    p: float | None = None
    p_flip: float | None = None
    note: str = ""
    scale: str = ""
    runs: tuple[str, ...] = ()

    @property
    def mean(self) -> float | None:
        """The mean difference; None without a pair."""
        return self.test.mean if self.test else None

    @property
    def sd(self) -> float | None:
        """The standard deviation over seeds; None for fewer than two."""
        return self.test.sd if self.test and self.seeds > 1 else None


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
    used = [side for side in (left, right) if isinstance(side, pd.DataFrame)]
    if pairs.empty:
        answered = _answer_of_the_dead(left, right)
        scale, where = (_scale(pd.concat(used)), settings_of(pd.concat(used))) if answered != "no data" else ("", ())
        return Result(check, answered, note=note, scale=scale, runs=where)
    seeds = pairs.groupby("seed")["difference"].mean()
    null = 0.0 if check.needs == "above" else -check.margin
    return Result(
        check,
        answer(check, list(seeds)),
        len(pairs),
        len(seeds),
        float(pairs[check.metric].mean()),
        float(pairs.right.mean()),
        paired(list(seeds), LEAST_SPREAD * check.margin),
        t_p(list(seeds), null, LEAST_SPREAD * check.margin),
        flip_p(list(seeds), null),
        note,
        _scale(pairs),
        tuple(sorted({*pairs["where"], *pairs.get("where_right", pd.Series(dtype=str))})),
    )


def answer(check: Check, seeds: Sequence[float]) -> Outcome:
    """Answer with a mean difference per seed, by the rules of prunelib.report.claims.check."""
    if len(seeds) < MIN_SEEDS:
        return "no data"
    mean, least = sum(seeds) / len(seeds), LEAST_SPREAD * check.margin
    if mean < -check.margin - ROUNDING and is_above([-value for value in seeds], 0.0, least):
        return "no"
    if check.needs == "above":
        return "yes" if mean > check.margin + ROUNDING and is_above(seeds, 0.0, least) else "unclear"
    return "yes" if is_above(seeds, -check.margin, least) else "unclear"


def smallest_budget(runs: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Keep the runs at the smallest budget of one kind, per task and model."""
    budgets = runs.budget.map(Budget.parse)
    runs = runs.assign(value=[budget.value if budget.kind == kind else float("nan") for budget in budgets])
    least = runs.groupby(["task", "model"])["value"].transform("min")
    return runs[runs.value == least].drop(columns="value")


def outcome_rows(judgements: Sequence[Judgement], evidence: str = "grid") -> list[dict[str, Any]]:
    """Return the table of all checks (keys of OUTCOME_COLUMNS): one row each, in the order of the claims."""
    return [
        {"evidence": evidence, "paper": judgement.paper, "verdict": judgement.verdict} | _outcome(result)
        for judgement in judgements
        for result in judgement.results
    ]


def _outcome(result: Result) -> dict[str, Any]:
    check, test = result.check, result.test
    asked = {name: getattr(check, name) for name in ("text", "metric", "needs", "margin")}
    found = {name: getattr(result, name) for name in ("scale", "outcome", "pairs", "seeds", "left", "right", "note")}
    tested = {"mean": result.mean, "sd": result.sd, "p": result.p, "p_flip": result.p_flip}
    if test:
        tested |= {"low": test.low, "high": test.high, "d_z": test.dz, "bar": test.bar, "limits": limits(test)}
    return {"check": check.name} | asked | found | tested | {"runs": "; ".join(result.runs)}


def _side(runs: pd.DataFrame, side: str | float) -> pd.DataFrame | float:
    if isinstance(side, float):
        return side
    patterns = [(*pattern.split("@"), "*")[:2] for pattern in side.split("|")]
    labels = zip(runs.method, runs.model, strict=True)
    fits = [any(fnmatchcase(method, a) and fnmatchcase(model, b) for a, b in patterns) for method, model in labels]
    return runs[pd.Series(fits, runs.index, dtype=bool)]


def _where(runs: pd.DataFrame) -> list[str]:
    """Return the path of every run's setting below results/runs: its directory without the seed."""
    return ["/".join(row) for row in runs[list(LABELS)].itertuples(index=False, name=None)]


def settings_of(runs: pd.DataFrame) -> tuple[str, ...]:
    """Return the paths, below results/runs, of the settings of runs."""
    return tuple(sorted(set(_where(runs))))


def _scale(runs: pd.DataFrame) -> str:
    return ", ".join(sorted({scale for scale in runs.scale if scale}))


def _pairs(left: pd.DataFrame, right: pd.DataFrame | float, check: Check) -> tuple[pd.DataFrame, int]:
    """Return the pairs with their difference, and how many pairs were left out because they were not equal."""
    values = {check.metric, check.equal, check.higher} - {""}
    empty = pd.DataFrame({"difference": [], "seed": []})
    if not values <= set(left.columns):
        return empty, 0
    wanted = [*check.pair_by, *sorted(values), "where"]
    left = left[left.status == "ok"]
    left = left.assign(where=_where(left))[[*wanted, "scale"]].dropna()
    if isinstance(right, float):
        return left.assign(right=right, difference=check.sign * (left[check.metric] - right)), 0
    right = right[right.status == "ok"]
    right = right.assign(where=_where(right))[wanted].dropna()
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
    if alive[0] >= MIN_SEEDS and dead[1] >= MIN_SEEDS and not alive[1]:
        return "yes"
    return "no" if alive[1] >= MIN_SEEDS and dead[0] >= MIN_SEEDS and not alive[0] else "no data"


def _note(left: pd.DataFrame, right: pd.DataFrame | float, unequal: int, check: Check) -> str:
    notes = []
    for side, name in ((left, check.left), (right, check.right)):
        dead = int((side.status == "dead").sum()) if isinstance(side, pd.DataFrame) else 0
        if dead:
            notes.append(f"{name.split('|')[0].strip('*-_')}: {dead} of {len(side)} networks dead")
    if unequal:
        notes.append(f"{unequal} pairs left out: {check.equal} differs by more than {100 * EQUAL_WITHIN:g} %")
    return "; ".join(notes)
