"""Which ranking wins: structural pruning's methods beside each other, seed by seed, before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from prunelib.report.words import method_order

COLUMNS = (
    "paper", "task", "model", "budget", "method", "metric", "seeds", "mean", "sd", "below_best", "below_best_sd",
    "wins",
)  # fmt: skip
METRICS = ("top1_start", "top1")  # right after pruning, after fine-tuning
TIE = 1e-9  # top-1 is a count of images over their number: anything smaller is rounding


def modes(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows (keys of COLUMNS) for every task, model and budget at which several methods pruned a network.

    ``seeds`` are those in which all of them have a result. ``wins``: seeds in which a method's accuracy is the highest,
    alone or with others; ``below_best``: mean over seeds of the highest accuracy minus its own.
    ``runs`` is a table of all runs.
    """
    mine = runs[(runs.paper == "isomorphic") & (runs.status == "ok") & (runs.budget != "full")]
    return [
        {"paper": "isomorphic", "task": task, "model": model, "budget": budget, "metric": metric, **row}
        for (task, model, budget), rows in mine.groupby(["task", "model", "budget"], sort=False)
        for metric in METRICS
        if metric in rows
        for row in _contests(rows, metric)
    ]


def _contests(rows: pd.DataFrame, metric: str) -> Iterator[dict[str, Any]]:
    table = rows.pivot_table(metric, "seed", "method").dropna()
    if len(table) == 0 or len(table.columns) < 2:
        return
    below = table.rsub(table.max(axis=1), axis=0)
    for method in sorted(table.columns, key=method_order):
        own, behind = table[method], below[method]
        yield {
            "method": method,
            "seeds": len(own),
            "mean": float(own.mean()),
            "sd": float(own.std()),
            "below_best": float(behind.mean()),
            "below_best_sd": float(behind.std()),
            "wins": int((behind < TIE).sum()),
        }
