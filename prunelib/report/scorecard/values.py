"""Published values beside ours: sizes at scale paper and equal density, below it only directions against dense."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from prunelib.report import published
from prunelib.report.claims.judge import settings_of
from prunelib.report.scorecard.directions import Directions
from prunelib.report.scorecard.realised import realised
from prunelib.report.scorecard.verdicts import DIFFERS, DIRECTION, IMPOSSIBLE, NEEDS_PAPER, NOT_COMPARED, REPRODUCED

SAME_DENSITY = 0.04  # largest relative difference of two equal densities; the densities asked for lie further apart
QUALITIES = ("psnr_peak", "psnr_final", "psnr_gap")  # what means over Set14 are taken of
# dB: single published runs scatter by as much; accuracies: a point. "_full": with every gate open (ising).
TOLERANCE = dict.fromkeys((*QUALITIES, "search_psnr_det"), 0.3)
TOLERANCE |= {f"top{k}{when}": 0.01 for k in (1, 3, 5) for when in ("", "_full")}
TOLERANCE |= {"search_threshold": 0.1, "search_mean_logit": 0.1, "search_loss": 0.003}
# R of one network spreads by as much over the published data sets.
TOLERANCE |= {"density_upstream": 0.05}
SAME_SIZE = 0.02  # of the published value: sizes at the published ratios differ by what other weights prune
SIZES = ("parameters_kept", "parameters", "macs_torch_pruning")
OTHER_WORK = "other work"  # state of a value that the paper quotes from others, whose methods are not repeated here
ASKED = "trained_magnitude"  # its kept share was set to that of the row it stands beside, so it is no result
NO_DENSITY, NO_TOLERANCE = "no run of this density", "no tolerance: it depends on the machine or on the run"
# Our labels that repeat a published method, best first: the published 5 % masks were searched for 80 000 steps, and
# the published energies ran with the faults of the authors' code.
SAME_METHOD = {
    "gumbel": ("gumbel-80k", "gumbel"),
    "ising": ("ising-upstream", "ising"),
    "margin": ("margin-upstream", "margin"),
}
PAPER = "paper"
Groups = Mapping[tuple[str, str, str], pd.DataFrame]


def value_rows(paper: str, runs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield one row of the scorecard for every published value of a paper; ``runs``: all runs of that paper."""
    ours = runs[(runs.scale == PAPER) & runs.status.isin(["ok", "dead"])]
    groups = dict(list(ours.groupby(["task", "model", "method"])))
    values = published.values(paper)
    directions = Directions(values, runs[runs.scale != PAPER], TOLERANCE)
    for row in values.itertuples(index=False):
        yield _shared(row) | compared(row, groups, directions)
    if paper == "oes":
        tasks = sorted(set(values.task[(values.dataset == "set14") & (values.sigma == 0.1) & (values.task != "")]))
        yield from _mean_rows(groups, tasks)


def _shared(row: Any) -> dict[str, Any]:
    names = ("paper", "id", "dataset", "task", "model", "method", "density", "metric", "unit", "evidence", "source")
    shared = {"kind": "value", "published": row.value if math.isnan(row.converted) else row.converted}
    return shared | {"note": row.doubt} | {name: getattr(row, name) for name in names}


def compared(row: Any, groups: Groups, directions: Directions) -> dict[str, Any]:
    """Return verdict, ours, sd, seeds, difference and what was compared, for one published value.

    The rules in their order: docs/scorecard.md, "Values".
    """
    if row.state == "impossible":
        return {"verdict": IMPOSSIBLE}
    why = _left_alone(row)
    if why:
        return {"verdict": NOT_COMPARED, "note": why}
    found = [(label, groups.get((row.task, row.model, label))) for label in SAME_METHOD.get(row.method, (row.method,))]
    found = [(label, group) for label, group in found if group is not None]
    if not found:
        return _direction(row, directions)
    for label, group in found:
        same = group[group.budget == "full"] if _is_size_of_search(row) else _of_density(group, row.density)
        if len(same):
            return _measured(row, label, same)
    return {"verdict": NOT_COMPARED, "note": NO_DENSITY}


def _left_alone(row: Any) -> str:
    """Say why a value can't be compared with anything; empty when it can."""
    if row.doubt or math.isnan(row.converted):
        return row.doubt
    if row.state == OTHER_WORK:
        return OTHER_WORK
    if row.method == ASKED and row.metric in ("density_upstream", "parameters_kept"):
        return "set to the kept share of the row it stands beside"
    return "" if row.metric in TOLERANCE or row.metric in SIZES else NO_TOLERANCE


def _is_size_of_search(row: Any) -> bool:
    """A kept share that a search arrived at is compared with searches that nothing asked for a share."""
    return row.paper == "ising" and row.metric in ("density_upstream", "parameters_kept")


def _direction(row: Any, directions: Directions) -> dict[str, Any]:
    labels = SAME_METHOD.get(row.method, (row.method,))
    found = directions.of(row, labels)
    if found is None:
        return {"verdict": NEEDS_PAPER}
    return found | {"verdict": DIRECTION if found.pop("agrees") else NEEDS_PAPER}


def _of_density(runs: pd.DataFrame, density: float) -> pd.DataFrame:
    """Keep the runs of the one budget whose realised density (of all entries) is nearest, if it is the same."""
    kept = realised(runs)
    near = (kept - density).abs() <= SAME_DENSITY * density
    if not near.any():
        return runs[near]
    budget = runs.budget[(kept - density).abs().idxmin()]
    return runs[near & (runs.budget == budget)]


def _measured(row: Any, label: str, runs: pd.DataFrame) -> dict[str, Any]:
    shared = {"our_method": label, "our_density": float(realised(runs).mean()), "seeds": len(runs), "scale": PAPER}
    shared["runs"] = "; ".join(settings_of(runs))
    ours = _values_of(row, runs)
    if ours is None:
        return shared | {"verdict": NOT_COMPARED, "note": "not measured in our runs"}
    alive = ours[(runs.status == "ok") & ours.notna()]
    theirs_dead, ours_dead = row.state == "dead", alive.empty
    if theirs_dead or ours_dead:
        note = "" if theirs_dead and ours_dead else "theirs are dead" if theirs_dead else "ours are dead"
        return shared | {"verdict": DIFFERS if note else REPRODUCED, "note": note or "dead in both"}
    return shared | _judged(row.converted, float(alive.mean()), float(alive.std()), _tolerance(row))


def _values_of(row: Any, runs: pd.DataFrame) -> pd.Series | None:
    """Return our values of a published metric; kept parameters of the energies by the authors' count."""
    if _is_size_of_search(row) and row.metric == "parameters_kept" and {"parameters", "density_upstream"} <= {*runs}:
        return runs.parameters * realised(runs)
    return runs.get(row.metric)


def _tolerance(row: Any) -> float:
    if row.metric not in SIZES:
        return TOLERANCE[row.metric]
    if _is_size_of_search(row) and row.density < 1:
        return TOLERANCE["density_upstream"] / row.density * row.value
    return SAME_SIZE * row.value


def _judged(value: float, mean: float, sd: float, tolerance: float) -> dict[str, Any]:
    difference = mean - value
    verdict = REPRODUCED if abs(difference) <= tolerance else DIFFERS
    return {"ours": mean, "sd": sd, "difference": difference, "verdict": verdict}


def _mean_rows(groups: Groups, tasks: Sequence[str]) -> Iterator[dict[str, Any]]:
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
    whole = pd.concat(usable)
    each = whole.groupby("seed")[metric].mean()
    shared = {"seeds": len(each), "our_density": float(realised(whole).mean()), "scale": PAPER}
    shared["runs"] = "; ".join(settings_of(whole))
    return shared | _judged(value, float(each.mean()), float(each.std()), TOLERANCE[metric])
