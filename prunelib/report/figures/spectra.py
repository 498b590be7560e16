"""The expanders' figure of accuracy against what was measured of the graphs."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes

from prunelib.report.figures.plots import Drawing, legend_below, looks, panels, with_series
from prunelib.report.spectra import EDGES, MEASURED, correlations, measured_runs
from prunelib.report.words import budget_name, number

LABELS = ["task", "model", "method", "budget", "seed"]


def expanders_spectrum(runs: pd.DataFrame) -> Drawing | None:
    """Top-1 against sigma2 over its bound and against expansion, a row per task, model and budget, with Spearman's rho.

    The numbers behind it have a row per run with the correlations of its panel.
    """
    data = measured_runs(runs)
    if data.empty:
        return None
    data = with_series(data.assign(budget="")).assign(budget=data.budget)
    found = correlations(runs)
    titles = [title for row in found.itertuples() for title in _titles(row)]
    figure, axes = panels(titles, 2, 3.2)
    for index, row in enumerate(found.head(len(axes) // 2).to_dict("records")):
        frame = data[(data.task == row["task"]) & (data.model == row["model"]) & (data.budget == row["budget"])]
        for side, column in enumerate(MEASURED):
            (place,) = axes[2 * index + side]
            _scatter(place, frame, column)
            said = _said(row[f"{column}_rho"], row[f"{column}_rho_edges"])
            place.set(title=f"{titles[2 * index + side]}\n{said}", xlabel=MEASURED[column], ylabel="test top-1 (%)")
    legend_below(figure, 5)
    return Drawing(figure, data[[*LABELS, EDGES, *MEASURED, "top1"]].merge(found, on=["task", "model", "budget"]))


def _titles(row: tuple) -> tuple[str, str]:
    """Return the titles of the left and of the right panel."""
    low, high = (number(value, 0) for value in (row.edges_min, row.edges_max))
    edges = low if low == high else f"{low} to {high}"
    return f"{row.task}, {row.model}, {budget_name(row.budget)}", f"{row.runs} runs, {edges} edges"


def _said(rho: float, at_equal_edges: float) -> str:
    if math.isnan(rho):
        return "too few runs for a correlation"
    return f"\N{GREEK SMALL LETTER RHO} = {number(rho, 2)}; at equal edges {number(at_equal_edges, 2)}"


def _scatter(axes: Axes, frame: pd.DataFrame, column: str) -> None:
    """Draw each run as a small dot and each family's mean, with the spread of accuracy over seeds, as a mark."""
    for series, look in looks(frame).items():
        rows = frame[frame.series == series]
        axes.scatter(rows[column], 100 * rows.top1, s=12, color=look.colour, alpha=0.55, linewidths=0)
        spread = 100 * rows.top1.std() if len(rows) > 1 else 0
        drawn = {"fmt": look.marker, "color": look.colour, "markersize": 6.5, "capsize": 2.5, "label": series}
        axes.errorbar(rows[column].mean(), 100 * rows.top1.mean(), spread, **drawn)
