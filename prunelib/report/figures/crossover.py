"""The crossover's figures: every method on every task at equal density, and what it costs; what is worth its size."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from prunelib.report.crossover import COSTS, QUALITY
from prunelib.report.figures.plots import GREY, TASK_LOOKS, Drawing, legend_below, panels, with_series
from prunelib.report.words import budget_name, colour, method_name, metric

SIZE = "density_compact"
MOST_NAMES = 12  # of marks on a front; more would hide each other


def crossover_methods(table: pd.DataFrame) -> Drawing | None:
    """Quality per task, then time to find the mask, parameters, MACs and time of a pass; a row per method, best on top.

    ``table`` is what ``prunelib.report.crossover.crossover`` gives. Large marks are means over seeds with ± 1 standard
    deviation, small ones seeds; methods stand in the order of their mean rank over the tasks. One set of panels per
    budget, at most two.
    """
    budgets = sorted(set(table.budget) - {"full"})[:2]
    if not budgets or table.quality.isna().all():
        return None
    tasks = list(table[["task", "model"]].drop_duplicates().itertuples(index=False, name=None))
    cells = [(budget, *cell) for budget in budgets for cell in _cells(table, tasks)]
    titles = [f"{title}\n{budget_name(budget)}" for budget, title, *_ in cells]
    rows = table[table.budget != "full"].method.nunique() + 1
    figure, axes = panels(titles, 3, 1.3 + 0.24 * rows)
    for place, ((budget, _, column, mine, label), title) in enumerate(zip(cells, titles, strict=True)):
        if place >= len(axes):
            break
        frame = table[table.budget.isin([budget, "full"])]
        order = _order(frame)
        for task in mine:
            _rows(axes[place][0], frame, task, tasks.index(task), column, order)
        names = [method_name(method) for method in order]
        axes[place][0].set_yticks(range(len(order)), names if place % 3 == 0 else [])
        axes[place][0].set(title=title, xlabel=label, ylim=(-0.6, len(order) - 0.4))
        axes[place][0].grid(visible=True, axis="y")
        if column == "seconds":
            axes[place][0].set_xscale("symlog", linthresh=0.1)
            axes[place][0].set_xlim(left=-0.01)
    legend_below(figure, 2)
    return Drawing(figure, table)


def fronts(runs: pd.DataFrame) -> Drawing | None:
    """Quality against parameters after compaction, one panel per part, task and model, with the Pareto front.

    Marks are means over seeds with ± 1 standard deviation both ways. The front joins the settings that no other one
    beats in both means; a band below it is one pooled standard deviation wide: what stands in it can't be told from the
    front with these seeds.
    """
    cells = [(key, frame) for key, frame in runs.groupby(["paper", "task", "model"], sort=False) if _drawable(frame)]
    if not cells:
        return None
    figure, axes = panels([task for (_, task, _), _ in cells], 2, 3.4)
    parts = []
    for ((paper, task, model), frame), (place,) in zip(cells, axes, strict=False):
        name = next(name for name in QUALITY if name in frame and frame[name].notna().any())
        points = _points(frame, name)
        _front(place, points)
        place.set(title=f"{paper}: {model}\n{task}", xlabel="parameters after compaction (%)")
        place.set(ylabel=metric(name).heading, xlim=(0, 106))
        parts.append(points.assign(paper=paper, task=task, model=model, metric=name))
    data = pd.concat(parts, ignore_index=True)
    sizes = ["size_mean", "size_std", "quality_mean", "quality_std"]
    return Drawing(figure, data[["paper", "task", "model", "method", "budget", "seeds", "metric", *sizes, "front"]])


def pareto(size: pd.Series, quality: pd.Series) -> pd.Series:
    """Say which points no other one beats: none is at least as small and as good, and better in one of the two."""
    return pd.Series(
        [
            not ((size <= s) & (quality >= q) & ((size < s) | (quality > q))).any()
            for s, q in zip(size, quality, strict=True)
        ],
        size.index,
    )


def _cells(table: pd.DataFrame, tasks: list[tuple[str, str]]) -> list[tuple[str, str, list[tuple[str, str]], str]]:
    """Return title, column, tasks and axis label of every panel: a quality per task, then the costs of all tasks."""
    heading = {task: metric(group.metric.iloc[0]).heading for task, group in table.groupby(["task", "model"])}
    qualities = [(task[0], "quality", [task], heading[task]) for task in tasks[:8]]
    return qualities + [("all tasks", column, tasks, label) for column, label in COSTS.items()]


def _order(frame: pd.DataFrame) -> list[str]:
    """Return the methods, worst first: by their mean rank over tasks, ranks of means over seeds; dead ones last."""
    means = frame.groupby(["task", "model", "method"])["quality"].mean().unstack("method")
    ranks = means.rank(axis=1, ascending=False, na_option="bottom").mean()
    return list(ranks.sort_values(ascending=False, kind="stable").index)


def _rows(axes: Axes, frame: pd.DataFrame, task: tuple[str, str], number: int, column: str, order: list[str]) -> None:
    """Draw one task's values of one column, a row per method."""
    mine = frame[(frame.task == task[0]) & (frame.model == task[1])]
    look = TASK_LOOKS[number % len(TASK_LOOKS)]
    labelled = False
    for height, method in enumerate(order):
        rows = mine[mine.method == method]
        values = rows[column].dropna()
        if values.empty:
            if column == "quality" and len(rows):
                state = "dead" if (rows.status == "dead").any() else "no result yet"
                axes.text(0.03, height, state, transform=axes.get_yaxis_transform(), va="center", color="#a02020")
            continue
        axes.scatter(values, [height] * len(values), s=9, color=look.colour, alpha=0.5, linewidths=0)
        spread = float(values.std()) if len(values) > 1 else 0.0
        drawn = {"color": look.colour, "fmt": look.marker, "markersize": 6, "capsize": 2.5, "alpha": 0.9}
        axes.errorbar(values.mean(), height, xerr=spread, label="" if labelled else f"{task[0]}, {task[1]}", **drawn)
        labelled = True


def _drawable(frame: pd.DataFrame) -> bool:
    quality = [name for name in QUALITY if name in frame and frame[name].notna().any()]
    return bool(quality) and SIZE in frame and frame[frame[SIZE].notna()].groupby(["method", "budget"]).ngroups > 2


def _points(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return one row per setting: means and standard deviations of size and quality, and whether it is on the front."""
    frame = frame.dropna(subset=[SIZE, name])
    frame = with_series(frame.assign(size=100 * frame[SIZE], quality=metric(name).factor * frame[name]))
    found = frame.groupby(["method", "model", "budget", "series"], sort=False)[["size", "quality"]].agg(["mean", "std"])
    found.columns = ["_".join(column) for column in found.columns]
    found = found.fillna(0.0).reset_index().assign(seeds=frame.groupby("series", sort=False).size().to_numpy())
    return found.assign(front=pareto(found.size_mean, found.quality_mean))


def _front(axes: Axes, points: pd.DataFrame) -> None:
    edge = points[points.front].sort_values("size_mean")
    pooled = float((points.quality_std**2).mean() ** 0.5)
    x, y = [*edge.size_mean, 105.0], [*edge.quality_mean, edge.quality_mean.iloc[-1]]
    axes.step(x, y, where="post", color=GREY, linewidth=1.2, zorder=1)
    axes.fill_between(x, [value - pooled for value in y], y, step="post", color=GREY, alpha=0.15, linewidth=0, zorder=0)
    mark = {"fmt": "o", "markersize": 6, "capsize": 2.5}
    rest = points[~points.front]
    spread = (rest.size_mean, rest.quality_mean, rest.quality_std, rest.size_std)
    axes.errorbar(*spread, color=GREY, markerfacecolor="white", zorder=2, **mark)
    for row in edge.itertuples():
        shade = colour(row.method, row.model)
        axes.errorbar(row.size_mean, row.quality_mean, row.quality_std, row.size_std, color=shade, zorder=3, **mark)
        side = "right" if row.size_mean > 55 else "left"
        place = {"xytext": (-7 if side == "right" else 7, 6), "textcoords": "offset points", "ha": side}
        if len(edge) <= MOST_NAMES:
            axes.annotate(row.series, (row.size_mean, row.quality_mean), fontsize=8, color="#222222", zorder=4, **place)
