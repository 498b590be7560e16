"""Pictures of structural pruning: every group's width before and after, and its scores beside those of its set."""

from __future__ import annotations

import re

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from prunelib.report.figures.plots import FAINT, GREY, Drawing, legend_below, panels
from prunelib.report.structures import TENTHS
from prunelib.report.words import budget_name, colour, method_name, method_order

NAMED = 26  # more groups than this have no names on the axis
HUES = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#56b4e9", "#949494")


def isomorphic_widths(structures: pd.DataFrame) -> Drawing | None:
    """Width of every group along the network, dense and pruned (above), and the share that stays (below), per ranking.

    ``structures`` is what ``prunelib.report.structures.read_structures`` gives. Lines are means over seeds, bands their
    range; one panel per task, model and budget.
    """
    if structures.empty:
        return None
    data = structures.assign(kept_percent=100 * structures.after.astype(float) / structures.before.astype(float))
    data["place"] = data.groupby(["task", "model"])["group"].transform(_places)
    cells = list(data.groupby(["task", "model", "budget"], sort=True))
    titles = [f"{model}, {budget_name(budget)}\n{task}" for (task, model, budget), _ in cells]
    figure, axes = panels(titles, 2, 5.0, rows=2)
    for title, (_, frame), (top, bottom) in zip(titles, cells, axes, strict=False):
        dense = frame.drop_duplicates("place").sort_values("place")
        top.fill_between(dense.place, dense.before.astype(float), step="mid", color="#e4e4e4", label="dense")
        for method in sorted(set(frame.method), key=method_order):
            rows = frame[frame.method == method]
            _band(top, rows, "after", method)
            _band(bottom, rows, "kept_percent", method)
        top.set(title=title, ylabel="channels")
        _log_axis(top)
        bottom.set(ylabel="kept (%)", ylim=(0, 103))
        top.set_xticks([])
        _name_groups(bottom, dense)
    legend_below(figure, 6)
    columns = ["task", "model", "method", "budget", "seed", "place", "group", "set", "before", "after", "kept_percent"]
    return Drawing(figure, data[[*columns, "heads_before", "heads_after"]])


def isomorphic_scores(structures: pd.DataFrame) -> Drawing | None:
    """Distribution of every group's scores, groups side by side with their isomorphic set, one colour per set.

    Of one ranking and seed, since all rankings start from the same scores: a bar from the first to the ninth tenth, a
    dot at the median, a dash from least to greatest.
    """
    if structures.empty:
        return None
    shown = pd.concat([_one_run(frame) for _, frame in structures.groupby(["task", "model"], sort=True)])
    cells = list(shown.groupby(["task", "model"], sort=True))
    figure, axes = panels([model for (_, model), _ in cells], 1, 2.9)
    for ((task, model), frame), (place,) in zip(cells, axes, strict=False):
        _draw_scores(place, frame.sort_values(["set", "index"]))
        place.set(title=f"{model}, {task}: {frame['set'].nunique()} sets of {len(frame)} groups", ylabel="score")
    columns = ["task", "model", "method", "budget", "seed", "set", "index", "group", "before", "after", *TENTHS]
    return Drawing(figure, shown[columns])


def _places(names: pd.Series) -> pd.Series:
    """Number groups by their names, numbers in them as numbers: about the order in which a network runs."""

    def key(name: str) -> list[tuple[bool, int, str]]:
        parts = re.split(r"(\d+)", name)
        return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]

    return names.map({name: place for place, name in enumerate(sorted(set(names), key=key))})


def _log_axis(axes: Axes) -> None:
    """Make the upright axis logarithmic, with plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _band(axes: Axes, rows: pd.DataFrame, column: str, method: str) -> None:
    spread = rows.assign(value=rows[column].astype(float)).groupby("place")["value"].agg(["mean", "min", "max"])
    shade = colour(method)
    axes.fill_between(spread.index, spread["min"], spread["max"], color=shade, alpha=0.16, linewidth=0)
    axes.plot(spread.index, spread["mean"], color=shade, linewidth=1.4, marker=".", label=method_name(method))


def _name_groups(axes: Axes, groups: pd.DataFrame) -> None:
    if len(groups) <= NAMED:
        axes.set_xticks(groups.place, [name.removeprefix("stages.") for name in groups.group], rotation=70, ha="right")
        axes.tick_params(axis="x", labelsize=6.5)
    else:
        axes.set_xlabel("groups of channels along the network")


def _one_run(frame: pd.DataFrame) -> pd.DataFrame:
    first = min(
        frame[["method", "budget", "seed"]].itertuples(index=False), key=lambda row: (method_order(row[0]), row)
    )
    return frame[(frame.method == first.method) & (frame.budget == first.budget) & (frame.seed == first.seed)]


def _draw_scores(axes: Axes, frame: pd.DataFrame) -> None:
    previous, place, ticks = None, 0, []
    low = frame[list(TENTHS)].astype(float)
    floor = low[low > 0].min().min() / 2  # a logarithmic axis has no zero
    for row, (_, tenths) in zip(frame.itertuples(), low.clip(lower=floor).iterrows(), strict=True):
        place += 1 if row.set == previous or previous is None else 3
        shade = HUES[int(row.set) % len(HUES)]
        axes.plot([place] * 2, [tenths["score_0"], tenths["score_100"]], color=FAINT, linewidth=0.8, zorder=1)
        axes.plot([place] * 2, [tenths["score_10"], tenths["score_90"]], color=shade, linewidth=3.2, zorder=2)
        axes.plot([place], [tenths["score_50"]], marker="o", markersize=3, color="white", zorder=3)
        ticks.append((place, row.set))
        previous = row.set
    centres = pd.DataFrame(ticks, columns=["place", "set"]).groupby("set")["place"].mean()
    axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, place + 1))
    _log_axis(axes)
    axes.set_xticks(list(centres), [f"set {number}" for number in centres.index])
