"""The figure of the published Ising energy against the share of units: where its minimum is, and why."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from prunelib.report.figures.plots import WIDTH, Drawing, legend_below
from prunelib.report.words import MARKERS, budget_name, colour, method_name

BENCHMARK = "ising_energy"  # benchmarks/ising_energy.py
ENERGIES = ("ising", "ising-upstream", "margin", "margin-upstream")
COLUMNS = ["source", "share", "energy", "sd", "expected", "asked"]


def ising_energy(runs: pd.DataFrame, measured: pd.DataFrame | None) -> Drawing | None:
    """Energy of random states against the share of units that are on, p² - p, and where searches of ours ended.

    ``measured``: the recorded benchmark; None, or a grid without ising runs, gives no figure. Marks at the foot are the
    shares of units (mean over seeds) of runs of this grid that searched with an energy.
    """
    mine = runs[(runs.paper == "ising") & (runs.status == "ok")]
    if measured is None or mine.empty:
        return None
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.subplots()
    shares = np.linspace(0, 1, 101)
    axes.plot(shares * 100, shares**2 - shares, color="#8a8a8a", linestyle="--", label="p² − p")
    published = {"color": colour("ising"), "marker": "o", "label": "random states, published energy"}
    axes.errorbar(100 * measured.share, measured.energy, measured.sd, capsize=2, linewidth=1.2, **published)
    label = "random states, minimum asked to lie at 70 %"
    axes.plot(100 * measured.share, measured.asked, color="#de8f05", marker="s", linewidth=1.2, label=label)
    least = measured.loc[measured.energy.idxmin()]
    said = f"least at {100 * least.share:g} %"
    axes.annotate(said, (100 * least.share, least.energy), (0, -18), textcoords="offset points", ha="center")
    ended = _ended(mine)
    for place, row in enumerate(ended.itertuples()):
        mark = {"marker": MARKERS[2 + place % 6], "color": colour(row.method), "linestyle": "", "markersize": 8}
        axes.plot([100 * row.share], [0.04], transform=axes.get_xaxis_transform(), label=row.source, **mark)
    axes.set_ylim(bottom=min(measured.asked.min(), measured.energy.min()) - 0.07)
    axes.set(xlabel="units that are on (%)", ylabel="energy / all pairs of units", xlim=(0, 100))
    legend_below(figure, 2)
    table = measured.assign(source="random states")[COLUMNS]
    return Drawing(figure, pd.concat([table, ended.drop(columns="method")], ignore_index=True))


def _ended(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the mean share of open units at the end of searches, by method and budget; none where not recorded."""
    columns = ["source", "method", "share"]
    if "units" not in runs:
        return pd.DataFrame(columns=columns)
    found = runs[runs.method.isin(ENERGIES) & runs.units.notna()].groupby(["method", "budget"])["units"].mean()
    rows = [
        (f"ours, {method_name(name)}, {budget_name(budget)}", name, share) for (name, budget), share in found.items()
    ]
    return pd.DataFrame(rows, columns=columns)
