"""The crossover as one table: what every mask costs to find, what it keeps, and how well its network does the task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from prunelib.report.words import metric
from prunelib.runs import Run

QUALITY = ("psnr_final", "top1")  # what a task is judged by: the first of these that its runs have
LABELS = ("task", "model", "method", "budget", "seed")
# Column of the table -> what its axis or heading says; each is a mean over seeds in the page's tables.
COSTS = {
    "seconds": "time to find the mask (s)",
    "compact_percent": "parameters after compaction (%)",
    "macs_percent": "MACs after compaction (%)",
    "latency_percent": "forward pass against dense (%)",
}
COLUMNS = (*LABELS, "status", "metric", "quality", "against_dense", *COSTS, "density_percent")


@dataclass(frozen=True)
class Absent:
    """A method that the crossover leaves out on some kinds of tasks, and why."""

    method: str
    tasks: str
    why: str


# Every registered method that finds a mask, gates or a smaller network is either in the crossover of the paper grid on
# both kinds of tasks or named here; a test holds it to that.
NOT_APPLICABLE = (
    Absent("structural", "all", "removes channels of a trained network for a budget of MACs; there is no mask"),
    Absent("ising", "all", "its gates change while it trains, at the budget they find; “gates” projects them to masks"),
    Absent("gates-margin", "denoising", "the margin energy compares the logits of classes, and a picture has none"),
    Absent("deep_compression", "all", "codes the weights that another method kept; it finds no mask"),
    Absent("transfer", "all", "takes the mask that another method found on another picture"),
    Absent("given", "all", "reads a mask from a file of yours"),
    Absent("trained_sensitivity", "all", "a sensitivity decides how much is kept, so that density can't be made equal"),
)


def crossover(runs: pd.DataFrame, runtimes: pd.DataFrame) -> pd.DataFrame:
    """Return one row (COLUMNS) per run of the crossover at a density, and per dense run.

    quality: the task's metric in its own unit; against_dense: quality minus that of the dense run of the same seed, NaN
    where there is none; seconds: see ``seconds_to_find``, 0 for a dense one; shares are of the dense network, in
    percent; latency: of a forward pass of one input, compacted, by turns. Rounds that only lead to a sparser mask are
    left out.
    """
    data = runs[runs.paper == "crossover"]
    times = {row["path"]: row for row in runtimes[runtimes.paper == "crossover"].to_dict("records")}
    parents = {_parent(row).rpartition("/")[0] for row in times.values()}
    rows = []
    for _, group in data.groupby(["task", "model"], sort=False):
        name = next((name for name in QUALITY if name in group and group[name].notna().any()), None)
        for run in group.to_dict("records"):
            path = Run("crossover", *(run[label] for label in LABELS)).path
            if name is not None and (run["method"] == "dense" or path not in parents):
                rows.append(_row(run, group, name) | _costs(run, path, times))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def seconds_to_find(path: str, times: Mapping[str, Mapping[str, Any]]) -> float:
    """Return the wall time in seconds after which a run's mask was known, with all that had to be trained before.

    ``times``: rows of runtimes.csv by path. That is the search itself and, for a method that starts from trained
    weights, the training and the mask of the run they are of; NaN where a part was not measured.
    """
    row = times.get(path, {})
    own = row.get("mask.wall_s", math.nan)
    parent, _, file = _parent(row).rpartition("/")
    if not parent:
        return own
    before = times.get(parent, {})
    trained = before.get("wall_s", math.nan) if file == "weights.safetensors" else 0.0
    found = seconds_to_find(parent, times) if pd.notna(before.get("mask.wall_s")) else 0.0
    return own + trained + found


def advice(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Answer per task, model and budget what to use: the best method, the quickest to find, and the smallest network.

    best: highest mean quality over seeds. quickest: the least time among those whose mean quality is less than the
    larger of 0.1 dB or one point and the two methods' pooled standard deviation below the best; smallest: the least
    share of parameters after compaction among the same. Rows: task, model, budget, metric, and per answer its method,
    mean quality, standard deviation and cost.
    """
    rows = []
    for (task, model, budget), group in table[table.budget != "full"].groupby(["task", "model", "budget"], sort=False):
        means = group.groupby("method")[["quality", "seconds", "compact_percent"]].mean().dropna(subset="quality")
        if means.empty:
            continue
        spread = group.groupby("method")["quality"].std().reindex(means.index).fillna(0.0)
        top = means.quality.idxmax()
        margin = 0.1 if group.metric.iloc[0] == "psnr_final" else 0.01 * metric("top1").factor
        pooled = ((spread**2 + spread[top] ** 2) / 2) ** 0.5
        near = means[means.quality >= means.quality[top] - pooled.clip(lower=margin)]
        picks = {"best": top, "quickest": _least(near.seconds, top), "smallest": _least(near.compact_percent, top)}
        row: dict[str, Any] = {"task": task, "model": model, "budget": budget, "metric": group.metric.iloc[0]}
        for answer, method in picks.items():
            row |= {answer: method, f"{answer}_quality": means.quality[method], f"{answer}_sd": spread[method]}
            row |= {f"{answer}_{cost}": means[cost][method] for cost in ("seconds", "compact_percent")}
        rows.append(row | {"as_good": len(near), "methods": len(means)})
    return rows


def _least(costs: pd.Series, otherwise: str) -> str:
    return str(costs.idxmin()) if costs.notna().any() else otherwise


def _row(run: dict[str, Any], group: pd.DataFrame, name: str) -> dict[str, Any]:
    factor = metric(name).factor
    dense = group[name][(group.method == "dense") & (group.seed == run["seed"])].mean()
    share = {
        "compact_percent": 100 * run.get("density_compact", math.nan),
        "macs_percent": 100 * run.get("macs_compact", math.nan) / run.get("macs", math.nan),
        "density_percent": 100 * run.get("density", math.nan),
    }
    own = {label: run[label] for label in (*LABELS, "status")}
    return own | {"metric": name, "quality": factor * run[name], "against_dense": factor * (run[name] - dense)} | share


def _costs(run: dict[str, Any], path: str, times: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    if run["method"] == "dense":
        return {"seconds": 0.0, "latency_percent": 100.0}
    speedup = times.get(path, {}).get("cost.cpu_batch1_speedup", math.nan)
    return {"seconds": seconds_to_find(path, times), "latency_percent": 100 / speedup}


def _parent(row: Mapping[str, Any]) -> str:
    """Return the file that a run's search started from, by its run's path; empty where there is none."""
    found = row.get("mask.parent", "")
    return found if isinstance(found, str) else ""
