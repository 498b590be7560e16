"""Pictures of Optimal Eye Surgeon: what each method's generator draws in the end, whole and as a crop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from prunelib.report.histories import History
from prunelib.report.plots import WIDTH, Drawing
from prunelib.report.words import SOURCE, method_name, method_order

MAX_TASKS = 4
MAX_METHODS = 4
ZOOM = 3  # the crop is a third of the picture's side


@dataclass(frozen=True)
class Picture:
    """One picture of a row: its title, (H, W, 3) uint8 pixels, PSNR to the clean image and the seed it belongs to."""

    title: str
    pixels: np.ndarray
    psnr: float | None = None
    seed: int | None = None


def oes_pictures(runs: pd.DataFrame, histories: Sequence[History]) -> Drawing | None:
    """Pictures of one seed per task: clean, noisy, then each key method's last output, whole and as a crop."""
    tasks = list(_rows(runs, histories))[:MAX_TASKS]
    if not tasks:
        return None
    widest = max(len(row) for row in tasks)
    figure = Figure(figsize=(WIDTH, len(tasks) * (2 * WIDTH / widest + 0.4)), layout="constrained")
    grid = figure.subplots(2 * len(tasks), widest, squeeze=False)
    numbers = []
    for axes in grid.flat:
        axes.set_axis_off()
    for index, pictures in enumerate(tasks):
        corner, side = detailed_crop(pictures[0].pixels)
        for column, picture in enumerate(pictures):
            _draw(grid[2 * index][column], grid[2 * index + 1][column], picture, corner, side)
            row = {"picture": picture.title.replace("\n", " "), "seed": picture.seed, "psnr": picture.psnr}
            numbers.append(row | {"crop_row": corner[0], "crop_column": corner[1], "crop_side": side})
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
