"""Histories of runs (history.h5): columns along training and, for an image, the pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from prunelib.report.tables import LABELS
from prunelib.runs import Run
from prunelib.storage.hdf5 import load_history


@dataclass(frozen=True)
class History:
    """One run: float columns of equal length and (H, W, 3) uint8 pictures by name (clean, noisy, final, best)."""

    run: Run
    columns: dict[str, np.ndarray]
    images: dict[str, np.ndarray]


def read_histories(paths: Iterable[Path]) -> list[History]:
    """Read histories, sorted by run; a run that has none (missing or dead) is left out.

    The run is known by its directory. Raises ArtefactError for a file that is torn, damaged or no history.
    """
    return sorted((_read(path) for path in map(Path, paths) if path.exists()), key=lambda history: history.run)


def frame_of(histories: Iterable[History], along: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return a tidy frame: labels and seed, ``along`` (step or epoch) and the wanted columns, NaN where lacking.

    A history without ``along`` or without any of the columns adds nothing.
    """
    parts = [pd.DataFrame(columns=[*LABELS, "seed", along, *columns])]
    for history in histories:
        have = [name for name in columns if name in history.columns]
        if along in history.columns and have:
            labels = {name: getattr(history.run, name) for name in (*LABELS, "seed")}
            parts.append(pd.DataFrame({**{name: history.columns[name] for name in (along, *have)}, **labels}))
    return pd.concat(parts[1:], ignore_index=True).reindex(columns=parts[0].columns) if parts[1:] else parts[0]


def _read(path: Path) -> History:
    run = Run.parse("/".join(path.absolute().parent.parts[-6:]))
    stored = load_history(path)
    return History(run, stored.columns, {name: _rgb(image) for name, image in stored.images.items()})


def _rgb(image: np.ndarray) -> np.ndarray:
    """Return (H, W, 3), repeating a single grey channel."""
    return np.repeat(image, 3, axis=2) if image.ndim == 3 and image.shape[2] == 1 else image
