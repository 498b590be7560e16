"""The crossover figure: every method on every task, at equal budget."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from prunelib.report.histories import History
from prunelib.report.plots import Drawing, dumbbells, panels, with_series
from prunelib.report.words import budget_name, metric

QUALITY = ("psnr_final", "top1")  # what a task is judged by: the first of these that its runs have


def crossover_methods(runs: pd.DataFrame, histories: Sequence[History]) -> Drawing | None:
    """Final PSNR or top-1 of every method, one panel per task, model and budget; dense stands in every panel."""
    data = runs[runs.paper == "crossover"]
    cells = []
    for (task, model), frame in data.groupby(["task", "model"]):
        quality = next((name for name in QUALITY if name in frame and frame[name].notna().any()), None)
        for budget in sorted(set(frame.budget) - {"full"}) if quality else []:
            mine = frame[(frame.budget == budget) | (frame.method == "dense")]
            shown = with_series(mine.assign(budget="", shown=metric(quality).factor * mine[quality]))
            cells.append((f"{task}, {model}\n{budget_name(budget)}", metric(quality).heading, shown))
    if not cells:
        return None
    most = max(frame.series.nunique() for *_, frame in cells)
    figure, axes = panels([title for title, *_ in cells], 2, 1.4 + 0.27 * most)
    for (title, heading, frame), (place,) in zip(cells, axes, strict=False):
        order = frame.groupby("series")["shown"].mean().sort_values(ascending=False, na_position="last").index
        dumbbells(place, frame, "shown", "shown", list(order))
        place.set(title=title, xlabel=heading)
    have = [name for name in QUALITY if name in data]
    return Drawing(figure, data[["task", "model", "method", "budget", "seed", "status", *have]])
