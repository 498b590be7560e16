"""Times over seeds: the means and spreads that the page shows of what varies from machine to machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from prunelib.report.crossover import COSTS, crossover
from prunelib.report.tables import LABELS

COLUMNS = (*LABELS, "name", "runs", "mean", "sd", "sum")
MEASURED = ("wall_s", "cpu_s", "step_ms", "peak_rss_mb", "peak_gpu_mb")
PREFIXES = ("slim.", "cost.", "mask.", "crossover.")


def time_rows(runs: pd.DataFrame, runtimes: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows (keys of COLUMNS): count, mean, standard deviation and sum over runs of every column of times.

    Per setting, and with empty labels per part and over everything; the crossover's costs are named crossover.*. A
    column of ``runtimes`` takes part when it holds numbers.
    """
    if runtimes.empty or runs.empty:
        return []
    labelled = _labelled(runs, runtimes)
    names = [name for name in labelled if name in MEASURED or name.startswith(PREFIXES)]
    names = [name for name in names if pd.api.types.is_numeric_dtype(labelled[name])]
    rows: list[dict[str, Any]] = []
    for keys in (list(LABELS), ["paper"], []):
        groups = labelled.groupby(keys or (lambda _: ""), sort=False)[names].agg(["count", "mean", "std", "sum"])
        for labels, found in zip(groups.index, groups.to_numpy(), strict=True):
            known = dict(zip(keys, labels if len(keys) > 1 else [labels], strict=False))
            rows += [dict.fromkeys(LABELS, "") | known | row for row in _rows(names, found)]
    return rows


def _labelled(runs: pd.DataFrame, runtimes: pd.DataFrame) -> pd.DataFrame:
    """Return the times with their runs' labels and, for the crossover's runs, their costs."""
    parts = runtimes.path.str.rsplit("/", n=5, expand=True)
    labelled = runtimes.assign(**{name: parts[place] for place, name in enumerate(LABELS)})
    costs = crossover(runs, runtimes).assign(paper="crossover")
    costs["path"] = costs[list(LABELS)].agg("/".join, axis=1) + "/seed" + costs.seed.astype(str) if len(costs) else ""
    named = costs[["path", *COSTS]].rename(columns={name: f"crossover.{name}" for name in COSTS})
    return labelled.merge(named, on="path", how="left")


def _rows(names: list[str], found: np.ndarray) -> list[dict[str, Any]]:
    """Return the rows of one group from its numbers: for each name count, mean, standard deviation and sum."""
    return [
        {"name": name, "runs": int(count), "mean": mean, "sd": sd, "sum": total}
        for name, (count, mean, sd, total) in zip(names, found.reshape(-1, 4), strict=True)
        if count
    ]
