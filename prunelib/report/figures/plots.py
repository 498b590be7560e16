"""What every figure shares: style, panels, series with their own colour and marker, files that do not vary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunelib.report.tables import write_table
from prunelib.report.words import MARKERS, budget_name, colour, method_name, method_order
from prunelib.storage.files import atomic_path

WIDTH = 8.4  # inches; 96 px per inch on the page
MAX_PANELS = 12
CARD = "#ffffff"  # figures keep a light card, on a dark page too
FAINT = "#b4b4b4"
GREY = "#8a8a8a"
STYLE = {
    "figure.facecolor": CARD,
    "axes.facecolor": CARD,
    "axes.edgecolor": "#8a8a8a",
    "axes.labelcolor": "#222222",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "text.color": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.9,
    "svg.hashsalt": "prunelib",  # element ids are hashes: with a fixed salt the file is the same each time
    "svg.fonttype": "path",  # the same letters on every machine
}


@dataclass(frozen=True)
class Drawing:
    """A figure and the numbers behind it."""

    figure: Figure
    data: pd.DataFrame


@dataclass(frozen=True)
class Look:
    """How one series is drawn."""

    colour: str
    marker: str


# Tasks side by side in one panel, whatever they are.
TASK_LOOKS = (Look("#0173b2", "o"), Look("#de8f05", "s"), Look("#029e73", "^"), Look("#cc78bc", "D"))


@contextmanager
def style() -> Iterator[None]:
    """Draw inside this context: seaborn's white grid with this project's sizes and colours."""
    with mpl.rc_context(), sns.axes_style("whitegrid"):
        mpl.rcParams.update(STYLE)
        yield


def save(drawing: Drawing, name: str, output: Path) -> None:
    """Write <name>.svg, <name>.png (150 dpi) and <name>.csv; equal drawings give equal bytes on one machine."""
    for suffix, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        with atomic_path(output / f"{name}.{suffix}") as temporary:
            drawing.figure.savefig(temporary, format=suffix, metadata=metadata, dpi=150)
    write_table(output / f"{name}.csv", list(drawing.data.columns), drawing.data.to_dict("records"))


def placeholder(text: str) -> Drawing:
    """Return a card that says why there is nothing to draw yet."""
    figure = Figure(figsize=(WIDTH, 1.2))
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=10, color="#666666")
    return Drawing(figure, pd.DataFrame())


def panels(
    names: Sequence[str], columns: int, height: float, rows: int = 1, sharex: bool = False
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with ``rows`` axes for each name (at most MAX_PANELS names), names running along its columns.

    The result has one inner list of axes per name shown; a line below the figure says when names were left out.
    """
    shown = list(names)[:MAX_PANELS]
    columns = min(columns, len(shown))
    bands = -(-len(shown) // columns)
    figure = Figure(figsize=(WIDTH, bands * height), layout="constrained")
    grid = figure.subplots(bands * rows, columns, squeeze=False, sharex=sharex)
    places = [divmod(place, columns) for place in range(bands * columns)]
    cells = [[grid[band * rows + row][column] for row in range(rows)] for band, column in places]
    for spare in cells[len(shown) :]:
        for axes in spare:
            axes.set_visible(False)
    if len(names) > len(shown):
        figure.supxlabel(f"The first {len(shown)} of {len(names)} panels; the CSV file has all.", fontsize=9)
    return figure, cells[: len(shown)]


def with_series(frame: pd.DataFrame) -> pd.DataFrame:
    """Add ``series``: a method's name, with its budget where one task, model and method has several."""
    several = frame.groupby(["task", "model", "method"])["budget"].transform("nunique") > 1
    names = [
        method_name(row.method, row.model) + (f", {budget_name(row.budget)}" if many else "")
        for row, many in zip(frame.itertuples(), several, strict=True)
    ]
    return frame.assign(series=pd.Series(names, index=frame.index, dtype=object))


def looks(frame: pd.DataFrame) -> dict[str, Look]:
    """Return each series' colour and marker, in the order of the methods (a decoder after the dense network)."""
    kinds = frame[["series", "method", "model"]].drop_duplicates("series").itertuples(index=False)
    ordered = sorted(kinds, key=lambda row: (method_order(row.method), "decoder" in row.model))
    labels = tuple(row.method for row in ordered)
    return {
        row.series: Look(colour(row.method, row.model, labels), MARKERS[index % len(MARKERS)])
        for index, row in enumerate(ordered)
    }


def legend_below(figure: Figure, columns: int) -> None:
    """Gather the legends of all panels into one below the figure: every label once, in order of appearance."""
    found = {}
    for axes in figure.axes:
        found |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)} | found
        if axes.get_legend():
            axes.get_legend().remove()
    if found:
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=min(columns, len(found)))


def dumbbells(
    axes: Axes,
    frame: pd.DataFrame,
    hollow: str,
    filled: str,
    order: Sequence[str],
    plain: Sequence[str] = (),
    diamond: str = "",
) -> None:
    """Draw one row per series: a hollow dot (mean of ``hollow``), a filled one (mean of ``filled``), the way between.

    Small dots are single seeds of ``filled``. A diamond marks the mean of ``diamond``. Series in ``plain`` are grey.
    A series without values is written as dead or without a result.
    """
    how = looks(frame)
    for height, series in enumerate(reversed(list(order))):
        rows = frame[frame.series == series]
        shade = GREY if series in plain else how[series].colour
        start, end = rows[hollow].mean(), rows[filled].mean()
        if pd.isna(end):
            state = "dead" if (rows.status == "dead").any() else "no result yet"
            _write_row(axes, height, f"{state} ({len(rows)} of {len(rows)})")
            continue
        axes.plot([start, end], [height, height], color=shade, linewidth=2.2, alpha=0.45, zorder=2)
        axes.scatter(rows[filled], [height] * len(rows), s=12, color=shade, alpha=0.6, zorder=3, linewidths=0)
        axes.scatter([start], [height], s=48, facecolors=CARD, edgecolors=shade, linewidths=1.6, zorder=4)
        axes.scatter([end], [height], s=48, color=shade, zorder=5)
        if diamond and pd.notna(stop := rows[diamond].mean()):
            axes.scatter(
                [stop], [height], s=40, marker="D", facecolors=CARD, edgecolors=shade, linewidths=1.4, zorder=6
            )
    axes.set_yticks(range(len(order)), list(reversed(list(order))))
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.grid(visible=False, axis="y")


def _write_row(axes: Axes, height: float, text: str) -> None:
    place = axes.get_yaxis_transform()
    box = {"facecolor": CARD, "edgecolor": "none", "pad": 1.5}
    axes.text(0.02, height, text, transform=place, va="center", fontsize=9, color="#a02020", bbox=box, zorder=6)
