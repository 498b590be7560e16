"""The curve of one cleaned picture: how closely the generator followed the noisy picture, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from prunelib.report.tables import write_table
from prunelib.storage.files import atomic_path


def draw(columns: Mapping[str, np.ndarray], sigma: float, image: Path, table: Path) -> None:
    """Write a fit's history as CSV, every column that has values, and its loss as PNG; equal histories, equal bytes.

    The dashed line is the loss of the clean picture itself, sigma^2: a fit far below it copies the noise.
    """
    shown = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    rows = [dict(zip(shown, map(float, row), strict=True)) for row in zip(*shown.values(), strict=True)]
    write_table(table, list(shown), rows)
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(shown["step"], shown["loss"], color="#1f6fb4", label="generator to noisy picture")
    axes.axhline(sigma**2, color="#8a8a8a", linestyle="--", label=f"noise, sigma = {sigma:.3g}")
    axes.set(xlabel="training step", ylabel="mean squared error", yscale="log")
    axes.legend(frameon=False)
    with atomic_path(image) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
