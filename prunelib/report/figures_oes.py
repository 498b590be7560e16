"""Figures of Optimal Eye Surgeon: PSNR along training, and where each method peaks and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from prunelib.report.claims import EQUAL_WITHIN
from prunelib.report.histories import History, frame_of
from prunelib.report.plots import FAINT, Drawing, dumbbells, legend_below, looks, panels, with_series
from prunelib.report.words import SOURCE, budget_name
from prunelib.runs import Budget

LONG = 10_000  # training steps from which the step axis is logarithmic
KEYS = ("dense", "gumbel", "imp")  # methods drawn in colour; the others are the field behind them


def oes_curves(runs: pd.DataFrame, histories: Sequence[History]) -> Drawing | None:
    """PSNR against the clean image along training: seeds as thin lines, their mean with ± 1 sd on top."""
    data = frame_of([history for history in histories if history.run.paper == "oes"], "step", ["psnr"])
    data = data.dropna(subset="psnr")
    if data.empty:
        return None
    cells = list(_panels(with_series(data)))
    figure, axes = panels([title for title, _ in cells], 2, 3.3)
    for (title, frame), (place,) in zip(cells, axes, strict=False):
        _curves(place, frame)
        if not _is_key(frame.method).all():
            place.plot([], [], color=FAINT, linewidth=1, label="other masks")
        _noisy_line(place.axhline, runs, frame)
        place.set(title=title, xlabel="training step", ylabel="PSNR to the clean image (dB)")
        if frame.step.max() >= LONG:
            place.set_xscale("symlog", linthresh=100)
    legend_below(figure, 4)
    return Drawing(figure, data)


def oes_final(runs: pd.DataFrame, histories: Sequence[History]) -> Drawing | None:
    """Peak and final PSNR per method at equal density: the way between them is what training on costs."""
    data = runs[runs.paper == "oes"]
    if "psnr_final" not in data or data.psnr_final.isna().all():
        return None
    data = with_series(data)
    cells = list(_panels(data))
    most = max(frame.series.nunique() for _, frame in cells)
    figure, axes = panels([title for title, _ in cells], 2, 1.3 + 0.27 * most)
    for (title, frame), (place,) in zip(cells, axes, strict=False):
        order = frame.groupby("series")["psnr_final"].mean().sort_values(ascending=False, na_position="last").index
        plain = set(frame.series[~_is_key(frame.method)])
        dumbbells(place, frame, "psnr_peak", "psnr_final", list(order), sorted(plain))
        _noisy_line(place.axvline, runs, frame)
        place.set(title=title, xlabel="PSNR (dB): \N{WHITE CIRCLE} peak  \N{BLACK CIRCLE} final")
    wanted = [name for name in ("psnr_peak", "psnr_final", "psnr_gap", "psnr_noisy") if name in data]
    return Drawing(figure, data[["task", "model", "method", "budget", "seed", "status", *wanted]])


def _panels(data: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield one panel per task and OES density, with dense runs and every mask of about that density in it.

    IMP's looser rounds belong to no panel.
    """
    for task, frame in data.groupby("task", sort=True):
        budgets = sorted(set(frame.budget[frame.method == "gumbel"]))
        if not budgets:
            yield str(task), frame
        for budget in budgets:
            near = pd.Series([_is_near(label, budget) for label in frame.budget], frame.index)
            mine = frame[(frame.method == "dense") | (frame.budget == budget) | (near & (frame.method != "gumbel"))]
            yield f"{task}, {budget_name(budget)}", with_series(mine)


def _is_near(label: str, budget: str) -> bool:
    values = [Budget.parse(text).value for text in (label, budget)]
    return None not in values and abs(values[0] - values[1]) <= EQUAL_WITHIN * values[1]


def _curves(axes: Axes, frame: pd.DataFrame) -> None:
    how = looks(frame)
    key = _is_key(frame.method)
    for _, rows in frame[~key].groupby("series"):
        mean = rows.groupby("step")["psnr"].mean()
        axes.plot(mean.index, mean, color=FAINT, linewidth=1, zorder=1)
    for (series, _), rows in frame[key].groupby(["series", "seed"]):
        axes.plot(rows.step, rows.psnr, color=how[series].colour, linewidth=0.7, alpha=0.35)
    order = [series for series in how if series in set(frame.series[key])]
    palette = {series: how[series].colour for series in order}
    hue = {"hue": "series", "hue_order": order, "palette": palette}
    sns.lineplot(frame[key], x="step", y="psnr", **hue, errorbar="sd", err_kws={"linewidth": 0}, ax=axes)


def _is_key(methods: pd.Series) -> pd.Series:
    return methods.isin(KEYS) | methods.str.contains(SOURCE, regex=False)


def _noisy_line(draw: Callable[..., Any], runs: pd.DataFrame, frame: pd.DataFrame) -> None:
    task = frame.task.iloc[0]
    if "psnr_noisy" in runs:
        level = runs.psnr_noisy[(runs.paper == "oes") & (runs.task == task)].mean()
        if pd.notna(level):
            draw(level, color="#222222", linewidth=1, linestyle=":", label="noisy input")
