"""What a network really keeps, by the count that published densities are in."""

from __future__ import annotations

import math

import pandas as pd


def realised(runs: pd.DataFrame) -> pd.Series:
    """Return what runs keep of all their parameters, as published counts do; dense runs keep 1.

    Where a run has the authors' own count (ising: it ignores inputs whose filter is off), that is it.
    """
    nothing = pd.Series(math.nan, runs.index)
    whole = runs.get("density_upstream", nothing).mask(lambda count: count.isna() & (runs.budget == "full"), 1.0)
    for name in ("density_all", "density"):
        whole = whole.fillna(runs.get(name, nothing))
    return whole
