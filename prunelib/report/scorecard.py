"""The scorecard: every published value and every claim beside ours, like compared with like.

A published value is compared with our runs of the same task, model and method at scale "paper", in data range 1 where
it is a PSNR, and only if they really keep the same share of the weights. Anything else is listed with the reason why it
isn't compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from prunelib.report import published
from prunelib.report.judge import Judgement, Result

COLUMNS = (
    "kind", "paper", "id", "text", "dataset", "task", "model", "method", "density", "metric", "unit", "published",
    "ours", "sd", "seeds", "difference", "verdict", "our_method", "our_density", "evidence", "source", "note",
)  # fmt: skip
SAME_DENSITY = 0.04  # largest relative difference of two equal densities; the densities asked for lie further apart
QUALITIES = ("psnr_peak", "psnr_final", "psnr_gap")  # what means over Set14 are taken of
# dB: single published runs scatter by as much; accuracies: a point. "_full": with every gate open (ising).
TOLERANCE = dict.fromkeys(QUALITIES, 0.3) | {f"top{k}{when}": 0.01 for k in (1, 3, 5) for when in ("", "_full")}
SAME_SIZE = 0.02  # of the published value: sizes at the published ratios differ by what other weights prune
SIZES = ("parameters_kept", "macs_torch_pruning")
OTHER_WORK = "other work"  # state of a value that the paper quotes from others, whose methods are not repeated here
# Our labels that repeat a published method, best first: the published 5 % masks were searched for 80 000 steps, and
# the published energies ran with the faults of the authors' code.
SAME_METHOD = {
    "gumbel": ("gumbel-80k", "gumbel"),
    "ising": ("ising-upstream", "ising"),
    "margin": ("margin-upstream", "margin"),
}
WITHIN, DIFFERS, DEAD = "within tolerance", "differs", "dead in both"
NEEDS_PAPER, NO_DENSITY, DOUBTFUL = "needs scale paper", "no run of this density", "doubtful, not compared"
LISTED = "listed only"  # nothing of ours to set beside it, or no tolerance to judge it by
SAID = {"yes": "agrees", "no": "disagrees", "unclear": "no clear difference", "no data": "not enough data"}
# What a claim's check compares, in terms of the published means over Set14: two (model, method, asked density).
OES, IMP = ("hourglass", "gumbel", 0.05), ("hourglass", "imp", None)
DENSE = ("hourglass", "dense", 1.0)
PUBLISHED_CHECKS = {"smaller-gap": (OES, DENSE), "above-dense": (OES, DENSE), "above-imp": (OES, IMP)}


def scorecard(runs: pd.DataFrame, judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Return the rows of the scorecard (keys of COLUMNS): the claims first, then every published value.

    ``runs`` is a table of all runs. Values and differences are in the metric's own unit (PSNR: dB, data range 1), a
    difference is ours minus published. A claim's numbers are the mean difference that speaks for it.
    """
    rows = [_claim_row(judgement.paper, result) for judgement in judgements for result in judgement.results]
    for paper in published.PAPERS:
        rows += _value_rows(paper, runs[runs.paper == paper])
    return rows


def _claim_row(paper: str, result: Result) -> dict[str, Any]:
    check = result.check
    effect = _published_effect(check.name, check.metric, check.sign) if paper == "oes" else None
    return {
        "kind": "claim",
        "paper": paper,
        "id": f"{paper}-{check.name}",
        "text": check.text,
        "metric": check.metric,
        "published": effect,
        "ours": result.mean,
        "sd": result.sd,
        "seeds": result.seeds,
        "verdict": SAID[result.outcome],
        "evidence": "" if effect is None else "log",
        "source": "" if effect is None else "mean over Set14",
        "note": result.note,
    }


def _published_effect(name: str, metric: str, sign: int) -> float | None:
    """Return the published sign * (left - right) of a check in the means over Set14, where there is one."""
    if name not in PUBLISHED_CHECKS:
        return None
    means = published.image_means()
    asked = means.density_asked.astype(object).where(means.density_asked.notna(), None)
    sides = {key: row for key, row in zip(zip(means.model, means.method, asked, strict=True), means.index, strict=True)}
    left, right = (means.loc[sides[side], metric] for side in PUBLISHED_CHECKS[name])
    return float(sign * (left - right))


def _value_rows(paper: str, runs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    ours = runs[(runs.scale == "paper") & runs.status.isin(["ok", "dead"])]
    groups = dict(list(ours.groupby(["task", "model", "method"])))
    values = published.values(paper)
    for row in values.itertuples(index=False):
        yield _shared(row) | _compared(row, groups)
    if paper == "oes":
        tasks = sorted(set(values.task[(values.dataset == "set14") & (values.sigma == 0.1) & (values.task != "")]))
        yield from _mean_rows(groups, tasks)


def _shared(row: Any) -> dict[str, Any]:
    names = ("paper", "id", "dataset", "task", "model", "method", "density", "metric", "unit", "evidence", "source")
    shared = {"kind": "value", "published": row.converted, "note": row.doubt}
    return shared | {name: getattr(row, name) for name in names}


def _compared(row: Any, groups: Mapping[tuple[str, str, str], pd.DataFrame]) -> dict[str, Any]:
    """Return ours, sd, seeds, difference, verdict and what was compared, for one published value."""
    if row.doubt or math.isnan(row.converted):
        return {"verdict": DOUBTFUL}
    if row.state == OTHER_WORK:
        return {"verdict": LISTED, "note": OTHER_WORK}
    found = [(label, groups.get((row.task, row.model, label))) for label in _labels(row.method)]
    found = [(label, group) for label, group in found if group is not None]
    if not found:
        judged = row.metric in (*TOLERANCE, *SIZES) or row.metric.startswith("search_")
        return {"verdict": NEEDS_PAPER if judged else LISTED}
    for label, group in found:
        same = _of_density(group, row.density)
        if len(same):
            return _measured(row, label, same)
    return {"verdict": NO_DENSITY}


def _labels(method: str) -> tuple[str, ...]:
    return SAME_METHOD.get(method, (method,))


def _of_density(runs: pd.DataFrame, density: float) -> pd.DataFrame:
    """Keep the runs of the one budget whose realised density (of all entries) is nearest, if it is the same."""
    kept = realised(runs)
    near = (kept - density).abs() <= SAME_DENSITY * density
    if not near.any():
        return runs[near]
    budget = runs.budget[(kept - density).abs().idxmin()]
    return runs[near & (runs.budget == budget)]


def realised(runs: pd.DataFrame) -> pd.Series:
    """Return what runs keep of all their parameters, as published counts do; dense runs keep 1.

    Where a run has the authors' own count (ising: it ignores inputs whose filter is off), that is it.
    """
    nothing = pd.Series(math.nan, runs.index)
    whole = runs.get("density_upstream", nothing).mask(lambda count: count.isna() & (runs.budget == "full"), 1.0)
    for name in ("density_all", "density"):
        whole = whole.fillna(runs.get(name, nothing))
    return whole


def _measured(row: Any, label: str, runs: pd.DataFrame) -> dict[str, Any]:
    shared = {"our_method": label, "our_density": float(realised(runs).mean()), "seeds": len(runs)}
    if row.metric not in runs:
        return shared | {"verdict": LISTED}
    alive = runs[(runs.status == "ok") & runs[row.metric].notna()]
    theirs_dead, ours_dead = row.state == "dead", alive.empty
    if theirs_dead or ours_dead:
        note = "" if theirs_dead and ours_dead else "theirs are dead" if theirs_dead else "ours are dead"
        return shared | {"verdict": DIFFERS if note else DEAD, "note": note}
    mean, sd = float(alive[row.metric].mean()), float(alive[row.metric].std())
    return shared | _judged(row.metric, row.converted, mean, sd)


def _judged(metric: str, value: float, mean: float, sd: float) -> dict[str, Any]:
    difference = mean - value
    tolerance = SAME_SIZE * value if metric in SIZES else TOLERANCE.get(metric)
    verdict = LISTED if tolerance is None else WITHIN if abs(difference) <= tolerance else DIFFERS
    return {"ours": mean, "sd": sd, "difference": difference, "verdict": verdict}


def _mean_rows(groups: Mapping[tuple[str, str, str], pd.DataFrame], tasks: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the means over Set14: compared only where every picture has a run of the same density."""
    for row in published.image_means().itertuples(index=False):
        asked = [] if math.isnan(row.density_asked) else [f"{row.density_asked:g}"]
        name = "-".join([row.model, row.method, *asked])
        sets = [
            _of_density(group, row.density)
            for task in tasks
            if (group := groups.get((task, row.model, row.method))) is not None
        ]
        for metric in QUALITIES:
            shared = {"kind": "value", "paper": "oes", "id": f"oes-set14-mean-{name}-{metric[5:]}", "dataset": "set14"}
            shared |= {"model": row.model, "method": row.method, "density": row.density, "metric": metric, "unit": "dB"}
            shared |= {"published": getattr(row, metric), "evidence": "log", "source": f"mean over {row.images} images"}
            yield shared | _mean_compared(metric, getattr(row, metric), sets, len(tasks))


def _mean_compared(metric: str, value: float, sets: Sequence[pd.DataFrame], tasks: int) -> dict[str, Any]:
    usable = [runs for runs in sets if metric in runs and runs[metric].notna().any()]
    if len(usable) < tasks:
        return {"verdict": NEEDS_PAPER}
    each = pd.concat(usable).groupby("seed")[metric].mean()
    seeds = {"seeds": len(each), "our_density": float(realised(pd.concat(usable)).mean())}
    return seeds | _judged(metric, value, float(each.mean()), float(each.std()))
