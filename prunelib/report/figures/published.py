"""Figures that lay our runs beside published curves: the mask search, and where in the network a mask keeps weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from prunelib.report import published
from prunelib.report.figures.oes import is_near
from prunelib.report.figures.plots import FAINT, Drawing, legend_below, panels
from prunelib.report.tables import read_table
from prunelib.report.words import budget_name, colour, method_name, method_order

IMAGES = ("pepper", "lena", "barbara", "baboon")
DENSITY = 0.05
TICKS = (0, 500, 1000, 10_000, 80_000)
THEIRS, OURS = "#222222", "#0173b2"
DRAWN = ("gumbel", "imp", "synflow", "snip", "grasp", "magnitude", "random")


def read_reference(paths: Iterable[Path]) -> pd.DataFrame:
    """Return recorded mask searches: image, seed, step, loss, mean_logit; files without these columns add nothing.

    A file names the picture in the column image, or in task as denoise-<image>-s<sigma>.
    """
    wanted = ["image", "seed", "step", "loss", "mean_logit"]
    parts = [pd.DataFrame(columns=wanted)]
    for path in sorted(map(Path, paths)):
        table = read_table(path)
        if "image" not in table and "task" in table:
            table["image"] = table.task.str.extract(r"^denoise-(.+)-s[0-9.]+$")[0]
        if set(wanted) <= set(table.columns):
            parts.append(table[wanted].dropna(subset=["image", "step", "loss"]))
    return pd.concat(parts[1:], ignore_index=True) if parts[1:] else parts[0]


def oes_published(runs: pd.DataFrame, reference: pd.DataFrame) -> Drawing | None:
    """Loss of the mask search against step, published and recorded; None where the grid has no run of OES."""
    if not (runs.paper == "oes").any():
        return None
    theirs = published.mask_learning().assign(source="published", seed=-1)
    figure, axes = panels(list(IMAGES), 2, 2.7)
    for image, (place,) in zip(IMAGES, axes, strict=True):
        for density, rows in theirs[theirs.image == image].groupby("density_asked"):
            main = density == DENSITY
            label = "published, density 5 %" if main else "published, 3 to 4 %"
            line = {"color": THEIRS if main else FAINT, "linewidth": 1.8 if main else 0.8, "zorder": 3 if main else 1}
            place.plot(rows.step, rows.loss, label=label, **line)
        for _, rows in reference[reference.image == image].groupby("seed"):
            place.plot(rows.step, rows.loss, color=OURS, linewidth=1.1, label="ours, density 5 %, per seed", zorder=4)
        place.set_xscale("symlog", linthresh=1000)
        place.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS], minor=False)
        place.set(title=image, xlabel="step of the mask search", ylabel="loss")
        place.set_xlim(left=0)
    legend_below(figure, 3)
    ours = reference.assign(source="ours", density_asked=DENSITY)
    columns = ["image", "source", "density_asked", "seed", "step", "loss", "mean_logit"]
    parts = [part[columns] for part in (theirs, ours) if len(part)]
    return Drawing(figure, pd.concat(parts, ignore_index=True))


def oes_layers(layers: pd.DataFrame) -> Drawing | None:
    """Kept share per convolution along the network: published masks (above), ours (below), IMP beside OES.

    ``layers`` is what ``prunelib.report.layers.read_layers`` gives. Our lines are means over seeds, bands their range.
    """
    ours = _our_shares(layers)
    if ours.empty:
        return None
    theirs = _published_shares()
    titles = [
        "published masks of OES and IMP",
        *(f"ours: {task}, {budget_name(budget)}" for task, budget in _groups(ours)),
    ]
    figure, axes = panels(titles, 1, 2.6)
    _bands(axes[0][0], theirs)
    for key, (place,) in zip(_groups(ours), axes[1:], strict=False):
        _bands(place, ours[(ours.task == key[0]) & (ours.budget == key[1])])
    for title, (place,) in zip(titles, axes, strict=False):
        place.set(title=title, ylabel="kept share (%)", ylim=(0, None))
        place.tick_params(axis="x", labelsize=8)
    axes[len(axes) - 1][0].set_xlabel("convolutions along the network: encoder down, decoder up, head")
    legend_below(figure, 4)
    return Drawing(figure, pd.concat([theirs, ours], ignore_index=True))


def _published_shares() -> pd.DataFrame:
    table = published.mask_layers()
    table = table[table["shape"].str.count("x") == 3]
    parts = []
    for mask in published.MASKS:
        name, share = mask.split("_")[-2:]
        method = "imp" if mask.startswith("imp") else "gumbel"
        rows = {"source": "published", "task": name, "budget": share, "method": method, "seed": -1}
        parts.append(pd.DataFrame({"tensor": table.tensor, "share": 100 * table[mask] / table.numel}).assign(**rows))
    five = [part for part in parts if part.budget.iloc[0] != "3.52pct"]
    return pd.concat(five, ignore_index=True)


def _our_shares(layers: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of the convolutions' weights (named ...conv... or head) of the methods worth a line.

    ``budget`` becomes that of the OES mask it stands beside: IMP's cuts end near a density, not at it.
    """
    conv = layers.tensor.astype(str).str.contains(r"(?:conv\d*|head)\.weight$", regex=True)
    rows = layers[conv & layers.method.isin(DRAWN) & layers.model.astype(str).str.contains("hourglass")]
    groups = set(rows[rows.method == "gumbel"][["task", "budget"]].itertuples(index=False, name=None))
    beside = [
        next((budget for task, budget in sorted(groups) if task == row.task and is_near(row.budget, budget)), "")
        for row in rows.itertuples()
    ]
    exact = rows.budget.where(rows.method == "gumbel", pd.Series(beside, rows.index, dtype=object))
    rows = rows.assign(budget=exact)[exact != ""]
    share = 100 * rows.kept.astype(float) / rows.numel.astype(float)
    return rows.assign(source="ours", share=share)[["source", "task", "budget", "method", "seed", "tensor", "share"]]


def _groups(ours: pd.DataFrame) -> list[tuple[str, str]]:
    return sorted(set(ours[["task", "budget"]].itertuples(index=False, name=None)))


def _bands(axes: Axes, frame: pd.DataFrame) -> None:
    order = {tensor: place for place, tensor in enumerate(dict.fromkeys(frame.tensor))}
    methods = sorted(set(frame.method), key=method_order)
    for method in methods:
        rows = frame[frame.method == method]
        spread = rows.groupby("tensor")["share"].agg(["mean", "min", "max"]).reindex(list(order)).dropna()
        places = [order[tensor] for tensor in spread.index]
        main = method in ("gumbel", "imp")
        shade = colour(method) if main else FAINT
        if main:
            axes.fill_between(places, spread["min"], spread["max"], color=shade, alpha=0.18, linewidth=0)
        name = method_name(method) if main else "scored masks"
        axes.plot(places, spread["mean"], color=shade, linewidth=1.6 if main else 0.8, label=name, marker=".")
    axes.set_xticks(list(order.values()), [_short(tensor) for tensor in order], rotation=60, ha="right")


def _short(tensor: str) -> str:
    """Write encoder.level0.conv1.weight as e0.1, decoder.level3.conv.weight as d3, head.weight as head."""
    match = re.fullmatch(r"(en|de)coder\.level(\d+)\.conv(\d?)\.weight", tensor)
    if not match:
        return tensor.removesuffix(".weight")
    return f"{match[1][0]}{match[2]}" + (f".{match[3]}" if match[3] else "")
