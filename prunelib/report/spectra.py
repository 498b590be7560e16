"""How accuracy goes with a mask's spectra and expansion: rank correlations, also at equal numbers of edges."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

# Column of the tables -> what its axis says.
MEASURED = {
    "graph_sigma2_bound": "σ2 / Ramanujan bound (mean over layers)",
    "graph_expansion": "sampled expansion (mean over layers)",
}
EDGES = "graph_edges"
LEAST = 4  # runs below which ranks say nothing


def measured_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the finished runs of the expanders' part whose mask was diagnosed, leaky networks left out.

    A leaky network computes with its pruned weights too, so that its graph does not decide what it can do.
    """
    needed = ["top1", EDGES, *MEASURED]
    if not set(needed) <= set(runs.columns):
        return runs[:0]
    mine = runs[(runs.paper == "expanders") & ~runs.method.str.contains("leaky", regex=False)]
    return mine.dropna(subset=needed)


def correlations(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per task, model and budget: runs, fewest and most edges, and per measure two rank correlations.

    <measure>_rho is Spearman's correlation with top-1; <measure>_rho_edges is the same at equal numbers of edges (see
    ``partial``). NaN below LEAST runs and where a side is constant.
    """
    rows = []
    for (task, model, budget), frame in measured_runs(runs).groupby(["task", "model", "budget"], sort=False):
        row = {"task": task, "model": model, "budget": budget, "runs": len(frame)}
        row |= {"edges_min": frame[EDGES].min(), "edges_max": frame[EDGES].max()}
        for name in MEASURED:
            row[f"{name}_rho"] = spearman(frame[name], frame.top1)
            row[f"{name}_rho_edges"] = partial(frame[name], frame.top1, frame[EDGES])
        rows.append(row)
    names = [f"{name}_{kind}" for name in MEASURED for kind in ("rho", "rho_edges")]
    return pd.DataFrame(rows, columns=["task", "model", "budget", "runs", "edges_min", "edges_max", *names])


def spearman(x: pd.Series, y: pd.Series) -> float:
    """Return Spearman's rank correlation in [-1, 1], ties at their mean rank; NaN as in ``correlations``."""
    if len(x) < LEAST or x.nunique() < 2 or y.nunique() < 2:
        return math.nan
    return float(np.corrcoef(x.rank(), y.rank())[0, 1])


def partial(x: pd.Series, y: pd.Series, held: pd.Series) -> float:
    """Return the rank correlation of x and y with the ranks of ``held`` taken out of both.

    (r_xy - r_xh r_yh) / sqrt((1 - r_xh^2)(1 - r_yh^2)); r_xy itself where ``held`` is constant; NaN where it decides
    the order of x or of y alone.
    """
    direct = spearman(x, y)
    if math.isnan(direct) or held.nunique() < 2:
        return direct
    first, second = spearman(x, held), spearman(y, held)
    rest = (1 - first**2) * (1 - second**2)
    return (direct - first * second) / math.sqrt(rest) if rest > 1e-9 else math.nan
