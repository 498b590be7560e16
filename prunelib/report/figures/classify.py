"""Figures of the classifying papers: accuracy against degree, by ranking mode, against what is kept; the search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from prunelib.report.figures.plots import Drawing, Look, dumbbells, legend_below, looks, panels, with_series
from prunelib.report.histories import History, frame_of
from prunelib.report.words import budget_name
from prunelib.runs import Budget

TOP1 = "test top-1 (%)"
LABELS = ["task", "model", "method", "budget", "seed", "status"]


def expanders_degree(runs: pd.DataFrame, histories: Sequence[History]) -> Drawing | None:
    """Top-1 per graph family against the degree (left) and against the kept share of weights (right), with seeds."""
    data = _classified(runs, "expanders")
    if data is None:
        return None
    data["degree"] = [_value(budget, "degree") for budget in data.budget]
    cells = [(f"{task}, {model}", frame) for (task, model), frame in data.groupby(["task", "model"])]
    figure, axes = panels([title for title, _ in cells for _ in range(2)], 2, 3.2)
    for index, (title, frame) in enumerate(cells[: len(axes) // 2]):
        (left,), (right,) = axes[2 * index], axes[2 * index + 1]
        _families(left, frame, "degree", "degree (edges per channel)")
        _families(right, frame, "kept_percent", "kept prunable weights (%)")
        left.set_title(title)
        for place in (left, right):
            _dense_line(place.axhline, frame)
    legend_below(figure, 5)
    return Drawing(figure, data[[*LABELS, "degree", "kept_percent", "top1"]])


def isomorphic_modes(runs: pd.DataFrame, histories: Sequence[History]) -> Drawing | None:
    """Top-1 before and after fine-tuning per ranking mode, at equal MACs, one panel per model."""
    data = _classified(runs, "isomorphic")
    if data is None:
        return None
    data = data.assign(top1_start=data["top1_start"] if "top1_start" in data else float("nan"))
    cells = []
    for (task, model), frame in data.groupby(["task", "model"]):
        budgets = sorted(set(frame.budget) - {"full"})
        cells += [(f"{model}, {budget_name(b)}\n{task}", frame[frame.budget == b], frame) for b in budgets]
    if not cells:
        return None
    most = max(frame.method.nunique() for _, frame, _ in cells)
    figure, axes = panels([title for title, *_ in cells], 2, 1.5 + 0.33 * most)
    for (title, frame, whole), (place,) in zip(cells, axes, strict=False):
        frame = with_series(frame.assign(before=100 * frame.top1_start, after=100 * frame.top1))
        dumbbells(place, frame, "before", "after", list(looks(frame)))
        _dense_line(place.axvline, whole)
        place.set(title=title, xlabel=f"{TOP1}: \N{WHITE CIRCLE} before  \N{BLACK CIRCLE} after fine-tuning")
    legend_below(figure, 1)
    wanted = [name for name in ("top1_start", "top1", "macs", "macs_compact") if name in data]
    return Drawing(figure, data[[*LABELS, *wanted]])


def ising_kept(runs: pd.DataFrame) -> Drawing | None:
    """Top-1 against non-zero parameters (left) and after physical slimming (right), per task; recorded runs too."""
    data = _classified(runs, "ising")
    if data is None:
        return None
    sides = {"density_all": "non-zero parameters (%)", "density_compact": "parameters after slimming (%)"}
    sides = {column: label for column, label in sides.items() if column in data and data[column].notna().any()}
    if not sides:
        return None
    cells = [(f"{task}, {model}", frame) for (task, model), frame in data.groupby(["task", "model"])]
    figure, axes = panels([title for title, _ in cells for _ in sides], len(sides), 3.3)
    how = looks(data)  # one for all panels, whose legend is one
    for index, (title, frame) in enumerate(cells[: len(axes) // len(sides)]):
        for side, (column, label) in enumerate(sides.items()):
            (place,) = axes[index * len(sides) + side]
            _scatter(place, frame, how, column)
            place.set(title=title if side == 0 else "", xlabel=label, ylabel=TOP1)
    legend_below(figure, 5)
    return Drawing(figure, data[[*LABELS, *sides, "top1"]])


def ising_search(runs: pd.DataFrame, histories: Sequence[History]) -> Drawing | None:
    """Energy of the best state and kept share along the search, one column per energy; seeds as lines."""
    mine = [history for history in histories if history.run.paper == "ising"]
    columns = sorted({name for history in mine for name in history.columns if name.startswith(("energy", "kept"))})
    data = frame_of(mine, "epoch", columns)
    if data.empty:
        return None
    data = with_series(data)
    cells = list(data.groupby("series", sort=True))
    figure, axes = panels([title for title, _ in cells], 3, 4.2, rows=2)
    for (title, frame), (top, bottom) in zip(cells, axes, strict=False):
        _lines(top, frame, [name for name in columns if name.startswith("energy")], 1)
        _lines(bottom, frame, [name for name in columns if name.startswith("kept")], 100)
        top.set(title=title, ylabel="energy (lower is better)")
        bottom.set(xlabel="epoch", ylabel="kept (%)", ylim=(0, 103))
    return Drawing(figure, data.drop(columns="series"))


def _classified(runs: pd.DataFrame, paper: str) -> pd.DataFrame | None:
    """Return the runs of one paper with ``top1_percent``, ``kept_percent`` and ``series``, or None without a result."""
    if "top1" not in runs or runs.top1[runs.paper == paper].isna().all():
        return None
    data = runs[runs.paper == paper]
    kept = data["density"] if "density" in data else float("nan")
    return with_series(data.assign(top1_percent=100 * data.top1, kept_percent=100 * kept))


def _value(budget: str, kind: str) -> float:
    parsed = Budget.parse(budget)
    return parsed.value if parsed.kind == kind and parsed.value is not None else float("nan")


def _families(axes: Axes, frame: pd.DataFrame, x: str, label: str) -> None:
    """Draw one line per family: mean over seeds with ± 1 sd, seeds as small dots, on a logarithmic axis."""
    frame = frame[frame.method != "dense"].dropna(subset=[x, "top1_percent"])
    frame = frame.assign(series=with_series(frame.assign(budget=""))["series"])
    how = looks(frame)
    for series, rows in frame.groupby("series"):
        axes.scatter(rows[x], rows.top1_percent, s=12, color=how[series].colour, alpha=0.55, linewidths=0)
        means = rows.groupby("budget")[[x, "top1_percent"]].mean().sort_values(x)
        spread = rows.groupby("budget")["top1_percent"].std().reindex(means.index)
        axes.errorbar(
            means[x],
            means.top1_percent,
            spread.fillna(0),
            color=how[series].colour,
            marker=how[series].marker,
            markersize=6,
            capsize=2.5,
            label=series,
        )
    axes.set(xlabel=label, ylabel=TOP1, xscale="log")
    _plain_ticks(axes, sorted(set(frame[x])) if x == "degree" else [])


def _plain_ticks(axes: Axes, ticks: list[float]) -> None:
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if ticks:
        axes.set_xticks(ticks)
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.tick_params(axis="x", which="minor", labelsize=7.5)


def _dense_line(draw: Callable[..., Any], frame: pd.DataFrame) -> None:
    level = 100 * frame.top1[(frame.method == "dense") & (frame.budget == "full")].mean()
    if pd.notna(level):
        draw(level, color="#4d4d4d", linewidth=1.2, linestyle="--", label="dense (mean)")


def _scatter(axes: Axes, frame: pd.DataFrame, how: Mapping[str, Look], column: str) -> None:
    """Draw each run as a small dot and each setting's mean with ± 1 sd of accuracy as a large one."""
    frame = frame.assign(kept=100 * frame[column]).dropna(subset=["kept", "top1_percent"])
    hue = {"hue": "series", "palette": {series: look.colour for series, look in how.items()}}
    sns.scatterplot(frame, x="kept", y="top1_percent", **hue, s=18, alpha=0.6, linewidth=0, legend=False, ax=axes)
    for series, look in how.items():
        rows = frame[frame.series == series]
        if len(rows):
            mean, spread = rows.top1_percent.mean(), rows.top1_percent.std() if len(rows) > 1 else 0
            drawn = {"fmt": look.marker, "color": look.colour, "markersize": 8, "capsize": 3, "label": series}
            axes.errorbar(rows.kept.mean(), mean, spread, **drawn)
    axes.set_xlim(0, 105)


def _lines(axes: Axes, frame: pd.DataFrame, columns: list[str], factor: float) -> None:
    for shade, column in zip(("#0173b2", "#de8f05", "#029e73"), columns, strict=False):
        for place, (_, rows) in enumerate(frame.groupby("seed")):
            label = "" if place else column.replace("_", " ")
            axes.plot(rows.epoch, factor * rows[column], color=shade, linewidth=1.4, alpha=0.8, label=label)
    if len(columns) > 1:
        axes.legend()
