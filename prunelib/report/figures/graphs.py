"""Pictures of masks as graphs: which kernels each layer keeps, and its second singular value against the bound."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from prunelib.errors import ArtefactError
from prunelib.report.figures.plots import WIDTH, Drawing, legend_below, looks, panels, with_series
from prunelib.report.layers import read_maps
from prunelib.report.tables import LABELS
from prunelib.report.words import budget_name, method_name, method_order
from prunelib.runs import Budget, Run
from prunelib.storage.files import read_json

MOST_LAYERS, MOST_METHODS = 6, 6
COLUMNS = (*LABELS, "seed", "index", "layer", "inputs", "outputs", "edges", "sigma1", "sigma2", "bound")


def read_graphs(paths: Iterable[Path]) -> pd.DataFrame:
    """Return a tidy frame (COLUMNS), one row per layer of every diagnostics.json; absent ones add nothing.

    Complete graphs and those of one channel are left out: their second singular value is 0. Raises ArtefactError for a
    record of something else.
    """
    rows = [row for path in sorted(map(Path, paths)) if path.exists() for row in _layers(path)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def expanders_ramanujan(graphs: pd.DataFrame) -> Drawing | None:
    """Second singular value over the Ramanujan bound sqrt(dL - 1) + sqrt(dR - 1), layer by layer, per graph family.

    Lines are means over seeds, dots seeds; below 1 a layer's graph expands as well as a random regular one can.
    """
    data = graphs[graphs.bound.astype(float) > 0]
    if data.empty:
        return None
    data = data.assign(ratio=data.sigma2.astype(float) / data.bound.astype(float))
    cells = list(data.groupby(["task", "model", "budget"], sort=True))
    titles = [f"{model}, {budget_name(budget)}\n{task}" for (task, model, budget), _ in cells]
    figure, axes = panels(titles, 2, 3.2)
    for title, (_, frame), (place,) in zip(titles, cells, axes, strict=False):
        frame = with_series(frame)
        layers = frame.drop_duplicates("index").sort_values("index")
        places = {index: number for number, index in enumerate(layers["index"])}
        for series, look in looks(frame).items():
            rows = frame[frame.series == series]
            place.scatter(rows["index"].map(places), rows.ratio, s=10, color=look.colour, alpha=0.5, linewidths=0)
            means = rows.groupby("index")["ratio"].mean()
            line = {"color": look.colour, "marker": look.marker, "markersize": 5, "linewidth": 1.3, "label": series}
            place.plot([places[index] for index in means.index], means, **line)
        place.axhline(1, color="#222222", linewidth=1, linestyle=":", label="the bound")
        place.set_xticks(list(places.values()), [_short(name) for name in layers.layer], rotation=60, ha="right")
        place.tick_params(axis="x", labelsize=7.5)
        place.set(title=title, ylabel="σ2 / bound", ylim=(0, None))
    legend_below(figure, 5)
    return Drawing(figure, data)


def expanders_masks(paths: Iterable[Path]) -> Drawing | None:
    """Which kernels every layer keeps, a row per method, a column per layer: outputs down, inputs across, dark = kept.

    Of the tightest budget of one task and model, and of the least seed there is; graph families first. Leaky networks
    have the masks of strict ones and are left out.
    """
    found = {Run.parse("/".join(Path(path).absolute().parent.parts[-6:])): path for path in paths if path.exists()}
    sparse = {run: path for run, path in found.items() if run.budget != "full" and "leaky" not in run.method}
    if not sparse:
        return None
    first = min(sparse, key=lambda run: (run.task, run.model, Budget.parse(run.budget).kind, _value(run), run.seed))
    where = (first.task, first.model, first.budget, first.seed)
    mine = sorted(
        (run for run in sparse if (run.task, run.model, run.budget, run.seed) == where),
        key=lambda run: method_order(run.method),
        reverse=True,
    )
    maps = {run.method: read_maps(Path(sparse[run])) for run in mine[:MOST_METHODS]}
    if not any(maps.values()):
        return None
    return _grid(maps, f"{first.task}, {first.model}, {budget_name(first.budget)}, seed {first.seed}")


def _grid(maps: dict[str, dict[str, np.ndarray]], title: str) -> Drawing:
    layers = list(dict.fromkeys(name for found in maps.values() for name in found))[:MOST_LAYERS]
    figure = Figure(figsize=(WIDTH, 0.5 + 1.4 * len(maps)), layout="constrained")
    grid = figure.subplots(len(maps), len(layers), squeeze=False)
    numbers = []
    for row, (method, found) in enumerate(maps.items()):
        for column, layer in enumerate(layers):
            axes = grid[row][column]
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            if layer not in found:
                axes.set_axis_off()
                continue
            share = found[layer]
            image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
            axes.set_title(f"{_short(layer)}: {share.shape[1]} → {share.shape[0]}" if row == 0 else "", fontsize=8)
            numbers.append({"method": method, "layer": layer} | _counts(share))
        grid[row][0].set_ylabel(method_name(method).replace(" ", "\n"), fontsize=9)
    figure.colorbar(image, ax=grid, fraction=0.02, label="kept share of a kernel")
    figure.suptitle(title, fontsize=10, fontweight="bold", x=0.01, ha="left")
    figure.supxlabel("input channels (across), output channels (down)", fontsize=9)
    return Drawing(figure, pd.DataFrame(numbers))


def _counts(share: np.ndarray) -> dict[str, Any]:
    touched = share > 0
    empty = {
        "outputs_without_input": int((~touched.any(axis=1)).sum()),
        "inputs_unused": int((~touched.any(axis=0)).sum()),
    }
    sizes = {"outputs": share.shape[0], "inputs": share.shape[1], "kernels": int(touched.sum())}
    return sizes | {"kept_share": float(share.mean())} | empty


def _layers(path: Path) -> list[dict[str, Any]]:
    run = Run.parse("/".join(path.absolute().parent.parts[-6:]))
    labels = {name: getattr(run, name) for name in (*LABELS, "seed")}
    record = read_json(path)
    try:
        return [
            labels | {"index": index} | {name: layer[name] for name in COLUMNS if name in layer}
            for index, layer in enumerate(record["layers"])
            if layer["edges"] < layer["inputs"] * layer["outputs"] and min(layer["inputs"], layer["outputs"]) > 1
        ]
    except (KeyError, TypeError):
        raise ArtefactError(f"{path}: not the diagnostics of a mask; delete it and run again.") from None


def _value(run: Run) -> float:
    return Budget.parse(run.budget).value or 0.0


def _short(name: str) -> str:
    return name.removesuffix(".weight").removeprefix("features.").replace("classifier", "fc")
