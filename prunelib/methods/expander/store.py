"""Graphs on disk: one sealed HDF5 file per network, edges per layer with the family, seed and degree they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from prunelib.errors import ArtefactError
from prunelib.methods.expander.families import biadjacency
from prunelib.storage.hdf5 import creating, reading

FORMAT = "prunelib-graphs-1"
LARGEST = 2**28  # cells of a layer: 16 384 channels on either side


@dataclass(frozen=True)
class Stored:
    """The graph of one layer, a boolean csr array (inputs, outputs), and what it was drawn from.

    ``degree``: edges per vertex of the family's side, as asked for (it may be fractional, and above a side).
    """

    graph: sparse.csr_array
    family: str
    seed: int
    degree: float


def save_graphs(path: str | Path, graphs: Mapping[str, Stored]) -> None:
    """Write graphs by layer, atomically: sorted cells input * outputs + output (int64), and the rest as attributes.

    The same graphs give the same bytes.
    """
    with creating(path, FORMAT) as file:
        group = file.create_group("graphs", track_order=True)
        for index, (name, stored) in enumerate(graphs.items()):
            inputs, outputs = (stored.graph != 0).tocoo().coords
            cells = np.sort(inputs.astype(np.int64) * stored.graph.shape[1] + outputs)
            data = group.create_dataset(f"{index:04d}", data=cells)
            data.attrs.update({"layer": name, "family": stored.family, "seed": stored.seed, "degree": stored.degree})
            data.attrs["shape"] = stored.graph.shape


def load_graphs(path: str | Path) -> dict[str, Stored]:
    """Read graphs by layer, in the order of writing; raises ArtefactError for a missing, torn or foreign file."""
    found = {}
    with reading(path, FORMAT) as file:
        for data in file["graphs"].values():
            n_in, n_out = (int(side) for side in data.attrs["shape"])
            cells = data[()]
            if not 0 < n_in * n_out <= LARGEST or cells.dtype.kind != "i" or cells.ndim != 1:
                raise ArtefactError(f"{path}: holds {cells.dtype} {cells.shape} for a graph of {n_in} × {n_out}.")
            if cells.size and (cells[0] < 0 or cells[-1] >= n_in * n_out or np.any(np.diff(cells) <= 0)):
                raise ArtefactError(f"{path}: the edges of '{data.attrs['layer']}' are no graph of {n_in} × {n_out}.")
            found[str(data.attrs["layer"])] = Stored(
                biadjacency(cells, n_in, n_out),
                str(data.attrs["family"]),
                int(data.attrs["seed"]),
                float(data.attrs["degree"]),
            )
    return found
