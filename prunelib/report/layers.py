"""What a run's mask keeps of every tensor, counted or channel by channel, read from mask.h5 without a network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from prunelib.report.tables import LABELS
from prunelib.runs import Run
from prunelib.storage.hdf5 import MASK, reading

STUB = "prunelib-stub-1"
COLUMNS = (*LABELS, "seed", "index", "tensor", "kept", "numel")


def read_layers(paths: Iterable[Path]) -> pd.DataFrame:
    """Return a tidy frame (COLUMNS), one row per tensor of every mask, in network order; absent masks add nothing.

    The run is known by the mask's directory. Raises ArtefactError for a file that is torn, damaged or no mask.
    """
    rows = [row for path in sorted(map(Path, paths)) if path.exists() for row in _rows(path)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(path: Path) -> list[dict[str, object]]:
    run = Run.parse("/".join(path.absolute().parent.parts[-6:]))
    labels = {name: getattr(run, name) for name in (*LABELS, "seed")}
    rows = []
    with reading(path, MASK, STUB) as file:
        for index, stored in enumerate(file["masks"].values() if "masks" in file else ()):
            numel = int(np.prod(stored.attrs["shape"], dtype=np.int64))
            kept = int(np.unpackbits(stored[()])[:numel].sum())
            rows.append(labels | {"index": index, "tensor": stored.attrs["name"], "kept": kept, "numel": numel})
    return rows


def read_maps(path: Path) -> dict[str, np.ndarray]:
    """Return, by tensor in network order, which share of each kernel (output, input channel) a mask keeps: (O, I).

    Tensors of one axis are left out. Raises ArtefactError for a file that is torn, damaged or no mask.
    """
    maps = {}
    with reading(path, MASK, STUB) as file:
        for stored in file["masks"].values() if "masks" in file else ():
            shape = tuple(int(side) for side in stored.attrs["shape"])
            if len(shape) > 1:
                bits = np.unpackbits(stored[()])[: int(np.prod(shape, dtype=np.int64))]
                maps[str(stored.attrs["name"])] = bits.reshape(*shape[:2], -1).mean(axis=2)
    return maps
