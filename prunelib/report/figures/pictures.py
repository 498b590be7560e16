"""Pictures of Optimal Eye Surgeon: what each method's generator draws in the end, a crop of it, and its errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from prunelib.report.figures.plots import WIDTH, Drawing
from prunelib.report.histories import History
from prunelib.report.words import SOURCE, method_name, method_order

MAX_TASKS = 4
MAX_METHODS = 4
ZOOM = 3  # the crop is a third of the picture's side
ERRORS = "magma"  # from black (none) over red to pale yellow; its brightness alone tells the size too
MOST = 0.25  # the error, of the whole range of a pixel, that is drawn as the largest


@dataclass(frozen=True)
class Picture:
    """One picture of a row: its title, (H, W, 3) uint8 pixels, PSNR to the clean image and the seed it belongs to."""

    title: str
    pixels: np.ndarray
    psnr: float | None = None
    seed: int | None = None


def oes_pictures(runs: pd.DataFrame, histories: Sequence[History]) -> Drawing | None:
    """Pictures of one seed per task: clean, noisy, then each key method's last output: whole, as a crop, its errors.

    An error is the mean over colours of the absolute difference to the clean picture, in [0, 1] units of a pixel.
    """
    tasks = list(_rows(runs, histories))[:MAX_TASKS]
    if not tasks:
        return None
    widest = max(len(row) for row in tasks)
    figure = Figure(figsize=(WIDTH, len(tasks) * (3 * WIDTH / widest + 0.4)), layout="constrained")
    grid = figure.subplots(3 * len(tasks), widest, squeeze=False)
    numbers = []
    for axes in grid.flat:
        axes.set_axis_off()
    for index, pictures in enumerate(tasks):
        corner, side = detailed_crop(pictures[0].pixels)
        for column, picture in enumerate(pictures):
            whole, zoom, map_ = (grid[3 * index + row][column] for row in range(3))
            _draw(whole, zoom, picture, corner, side)
            errors = error_map(picture.pixels, pictures[0].pixels)
            if column:
                scale = map_.imshow(errors, cmap=ERRORS, vmin=0, vmax=MOST, interpolation="nearest")
            row = {"picture": picture.title.replace("\n", " "), "seed": picture.seed, "psnr": picture.psnr}
            row |= {"crop_row": corner[0], "crop_column": corner[1], "crop_side": side}
            numbers.append(row | {"error_mean": errors.mean(), "error_max": errors.max()})
        said = f"absolute error (0 to 1), from {MOST} on alike"
        bar = figure.colorbar(scale, ax=grid[3 * index + 2][0], location="left", fraction=0.5, aspect=8)
        bar.set_label(said.replace(", ", ",\n"), fontsize=8)
    return Drawing(figure, pd.DataFrame(numbers))


def detailed_crop(pixels: np.ndarray) -> tuple[tuple[int, int], int]:
    """Return the top left corner and the side of the square crop with most contrast (sd of brightness)."""
    side = max(1, min(pixels.shape[:2]) // ZOOM)
    grey, step = pixels.mean(axis=2), max(1, side // 4)
    corners = [
        (row, column)
        for row in range(0, pixels.shape[0] - side + 1, step)
        for column in range(0, pixels.shape[1] - side + 1, step)
    ]
    return max(corners, key=lambda at: grey[at[0] : at[0] + side, at[1] : at[1] + side].std()), side


def error_map(pixels: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Return the mean over colours of the absolute difference of two (H, W, 3) uint8 pictures, (H, W) in [0, 1]."""
    return np.abs(pixels.astype(float) - clean.astype(float)).mean(axis=2) / 255


def _draw(whole: Axes, zoom: Axes, picture: Picture, corner: tuple[int, int], side: int) -> None:
    row, column = corner
    whole.imshow(picture.pixels, interpolation="nearest")
    whole.add_patch(Rectangle((column - 0.5, row - 0.5), side, side, fill=False, edgecolor="#ffd400", linewidth=1.4))
    zoom.imshow(picture.pixels[row : row + side, column : column + side], interpolation="nearest")
    level = f"{picture.psnr:.2f} dB" if picture.psnr is not None else ""
    whole.set_title(f"{picture.title}\n{level}", fontsize=9, loc="center", fontweight="normal")


def _rows(runs: pd.DataFrame, histories: Sequence[History]) -> Iterator[list[Picture]]:
    """Yield the pictures of each task that has an OES run, for its smallest seed."""
    mine = [item for item in histories if item.run.paper == "oes" and {"clean", "noisy", "final"} <= item.images.keys()]
    for task in sorted({item.run.task for item in mine if item.run.method == "gumbel"}):
        there = [item for item in mine if item.run.task == task]
        seed = min(item.run.seed for item in there if item.run.method == "gumbel")
        chosen = [item for item in there if item.run.seed == seed and _is_key(item)]
        chosen = sorted(chosen, key=lambda item: (method_order(item.run.method), "decoder" in item.run.model))
        images = chosen[0].images
        yield [
            Picture(f"{task}:\nclean", images["clean"]),
            Picture("Noisy", images["noisy"], _noisy_psnr(runs, task, seed), seed),
            *(Picture(_name(item), item.images["final"], _last(item), seed) for item in chosen[:MAX_METHODS]),
        ]


def _is_key(history: History) -> bool:
    return history.run.method in ("dense", "gumbel") or SOURCE in history.run.method


def _name(history: History) -> str:
    return method_name(history.run.method, history.run.model).replace(", mask", ",\nmask")


def _last(history: History) -> float | None:
    curve = history.columns.get("psnr", np.empty(0))
    return float(curve[-1]) if len(curve) else None


def _noisy_psnr(runs: pd.DataFrame, task: str, seed: int) -> float | None:
    if "psnr_noisy" not in runs:
        return None
    values = runs.psnr_noisy[(runs.paper == "oes") & (runs.task == task) & (runs.seed == seed)].dropna()
    return float(values.iloc[0]) if len(values) else None
