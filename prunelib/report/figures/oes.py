"""Figures of Optimal Eye Surgeon: PSNR along training, and where each method peaks, stops and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from prunelib.report.claims.check import EQUAL_WITHIN
from prunelib.report.figures.plots import GREY, Drawing, dumbbells, legend_below, looks, panels, with_series
from prunelib.report.histories import History, frame_of
from prunelib.report.words import SOURCE, budget_name, method_order, stem_of
from prunelib.runs import Budget

LONG = 10_000  # training steps from which the step axis is logarithmic
KEYS = ("dense", "sgld", "gumbel", "gumbel-80k", "imp")  # the main panel: what the paper's first figures compare
# The panel of the other masks: a colour per method, a line style per variant of it.
COLOURS = {"random": GREY, "magnitude": "#5b4b8a", "snip": "#b8860b", "grasp": "#029e73", "synflow": "#cc3311"}
STYLES = {"upstream": (0, (4, 1.5)), "repaired": (0, (1, 1)), "all": (0, (5, 1, 1, 1)), "local": (0, (2, 1))}
OTHER = "#ca9161"  # a method without a colour of its own, such as a variant of OES


def oes_curves(runs: pd.DataFrame, histories: Sequence[History]) -> Drawing | None:
    """PSNR against the clean image along training, mean and ± 1 sd over seeds.

    Per task and density a panel of the main lines and, where there are any, one of the other masks of that density
    beside OES.
    """
    data = frame_of([history for history in histories if history.run.paper == "oes"], "step", ["psnr"])
    data = data.dropna(subset="psnr")
    if data.empty:
        return None
    cells = [cell for title, frame in _panels(with_series(data)) for cell in _cells(title, frame)]
    figure, axes = panels([title for title, _, _ in cells], 2, 3.3)
    for (title, frame, draw), (place,) in zip(cells, axes, strict=False):
        draw(place, frame)
        _noisy_line(place.axhline, runs, frame)
        place.set(title=title, xlabel="training step", ylabel="PSNR to the clean image (dB)")
        if frame.step.max() >= LONG:
            place.set_xscale("symlog", linthresh=100)
        _leave_out_the_start(place, frame)
    legend_below(figure, 3)
    return Drawing(figure, data)


def oes_final(runs: pd.DataFrame, histories: Sequence[History]) -> Drawing | None:
    """Peak and final PSNR per method at equal density: the way between them is what training on costs.

    A diamond marks where the stopping rule, which needs no clean image, would have ended (psnr_stop).
    """
    data = runs[runs.paper == "oes"]
    if "psnr_final" not in data or data.psnr_final.isna().all():
        return None
    data = with_series(data)
    cells = list(_panels(data))
    most = max(frame.series.nunique() for _, frame in cells)
    figure, axes = panels([title for title, _ in cells], 2, 1.3 + 0.27 * most)
    stops = "psnr_stop" in data and data.psnr_stop.notna().any()
    for (title, frame), (place,) in zip(cells, axes, strict=False):
        order = frame.groupby("series")["psnr_final"].mean().sort_values(ascending=False, na_position="last").index
        plain = set(frame.series[~_is_key(frame.method)])
        dumbbells(place, frame, "psnr_peak", "psnr_final", list(order), sorted(plain), "psnr_stop" if stops else "")
        _noisy_line(place.axvline, runs, frame)
        stop = "  \N{WHITE DIAMOND} stop" if stops else ""
        place.set(title=title, xlabel=f"PSNR (dB): \N{WHITE CIRCLE} peak  \N{BLACK CIRCLE} final{stop}")
    names = ("psnr_peak", "psnr_final", "psnr_gap", "psnr_stop", "step_stop", "psnr_noisy")
    wanted = [name for name in names if name in data]
    return Drawing(figure, data[["task", "model", "method", "budget", "seed", "status", *wanted]])


def _panels(data: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield one panel per task and OES density, with dense runs and every mask of about that density in it.

    IMP's looser rounds belong to no panel.
    """
    for task, frame in data.groupby("task", sort=True):
        budgets = sorted(set(frame.budget[frame.method == "gumbel"]))
        if not budgets:
            yield str(task), frame
        whole = frame.method.isin(["dense", "sgld"])
        for budget in budgets:
            near = pd.Series([is_near(label, budget) for label in frame.budget], frame.index)
            mine = frame[whole | (frame.budget == budget) | (near & (frame.method != "gumbel"))]
            yield f"{task}, {budget_name(budget)}", with_series(mine)


def is_near(label: str, budget: str) -> bool:
    """Say whether two budget labels ask for the same density within EQUAL_WITHIN."""
    values = [Budget.parse(text).value for text in (label, budget)]
    return None not in values and abs(values[0] - values[1]) <= EQUAL_WITHIN * values[1]


def _cells(title: str, frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, Callable[..., None]]]:
    """Yield the main panel and the panel of the other masks, each with its title, its rows and what draws it."""
    key = _is_key(frame.method)
    if key.any():
        yield title, frame[key], _main
    if not key.all():
        beside = frame[~key | (frame.method == "gumbel")]
        yield ("other masks of this density" if key.any() else title), beside, _others


def _main(axes: Axes, frame: pd.DataFrame) -> None:
    how = looks(frame)
    for (series, _), rows in frame.groupby(["series", "seed"]):
        axes.plot(rows.step, rows.psnr, color=how[series].colour, linewidth=0.6, alpha=0.3)
    _means(axes, frame, list(how), {series: look.colour for series, look in how.items()})


def _others(axes: Axes, frame: pd.DataFrame) -> None:
    """Draw the other masks as thin lines with faint bands, OES in front of them as the line to compare with."""
    kinds = frame.drop_duplicates("series").sort_values("method", key=lambda labels: labels.map(method_order))
    for row in kinds.itertuples():
        rows = frame[frame.series == row.series]
        if row.method == "gumbel":
            _means(axes, rows, [row.series], {row.series: looks(rows)[row.series].colour})
            continue
        colour = COLOURS.get(stem_of(row.method), OTHER)
        style = next((style for word, style in STYLES.items() if row.method.endswith(f"-{word}")), "-")
        spread = rows.groupby("step")["psnr"].agg(["mean", "std"]).fillna({"std": 0.0})
        low, high = spread["mean"] - spread["std"], spread["mean"] + spread["std"]
        axes.fill_between(spread.index, low, high, color=colour, alpha=0.10, linewidth=0)
        axes.plot(spread.index, spread["mean"], color=colour, linestyle=style, linewidth=1.1, label=row.series)


def _means(axes: Axes, frame: pd.DataFrame, order: list[str], palette: dict[str, str]) -> None:
    hue = {"hue": "series", "hue_order": order, "palette": palette}
    sns.lineplot(frame, x="step", y="psnr", **hue, errorbar="sd", err_kws={"linewidth": 0}, ax=axes)


def _leave_out_the_start(axes: Axes, frame: pd.DataFrame) -> None:
    """Begin the axis at what the worst line reaches after a tenth of the steps: the rise from nothing says little."""
    later = frame[frame.step >= 0.1 * frame.step.max()].groupby(["series", "step"])["psnr"].mean()
    top = frame.psnr.max()
    if len(later) and later.min() < top:
        low = max(later.min(), top - 12)  # a dead line must not press the others together
        axes.set_ylim(low - 0.06 * (top - low), top + 0.04 * (top - low))


def _is_key(methods: pd.Series) -> pd.Series:
    return methods.isin(KEYS) | methods.str.contains(SOURCE, regex=False)


def _noisy_line(draw: Callable[..., Any], runs: pd.DataFrame, frame: pd.DataFrame) -> None:
    task = frame.task.iloc[0]
    if "psnr_noisy" in runs:
        level = runs.psnr_noisy[(runs.paper == "oes") & (runs.task == task)].mean()
        if pd.notna(level):
            draw(level, color="#222222", linewidth=1, linestyle=":", label="noisy input")
