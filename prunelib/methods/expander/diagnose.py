"""Everything that is measured of a masked network's graphs: one row per layer and one for the whole network."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from torch import Tensor, nn

from prunelib.masks.mask import Mask
from prunelib.methods.expander.layers import Graphs, graphs_of, mask_of
from prunelib.methods.expander.network import Flow, flow
from prunelib.methods.expander.spectra import degrees, describe, worst_expansion
from prunelib.seeds import numpy_generator
from prunelib.storage.files import write_json, write_text
from prunelib.tasks.base import open_task, prunable

Row = dict[str, Any]
REAL = {"sigma1", "sigma2", "bound", "gap", "expansion"}  # the other columns of ``describe`` are whole numbers


def diagnose(kept: Mask | Graphs, model: nn.Module, example: Tensor, seed: int = 0) -> tuple[list[Row], Row]:
    """Return one row per masked layer, in definition order, and the row of the whole network.

    ``kept``: any method's mask, or graphs (inputs, outputs) by the name of the weight, whose edges are whole kernels;
    an edge is a kernel with a kept weight. ``example``: an input of the network. A layer's columns are those of
    ``spectra.describe`` and ``kept``, ``size`` (weights), ``degrees_in``, ``degrees_out`` ({degree: vertices}),
    ``worst_in``, ``worst_out`` (least |N(S)| / |S| found), ``reached_in``, ``reached_out`` (channels a path from the
    image reaches), ``useful_out`` (outputs from which a path reaches the network's output), ``effective`` (kept weights
    on a path from the image to the output) and ``log10_paths`` (from the image to the layer's outputs).
    The network's row is described at ``whole``. Raises MethodError for graphs that do not fit the model.
    """
    weights = prunable(model)
    graphs = graphs_of(kept, model) if isinstance(kept, Mask) else _whole_kernels(kept, model)
    ordered = {name: graphs[name] for name in weights if name in graphs}
    passed = flow(ordered, model, example)
    rows = [
        {"layer": name, **_layer(name, graph, weights[name].numel(), passed, seed)} for name, graph in ordered.items()
    ]
    return rows, whole(rows, passed)


def _whole_kernels(graphs: Graphs, model: nn.Module) -> dict[str, Any]:
    return graphs_of(Mask({name: kept for name, kept in mask_of(graphs, model).items() if name in graphs}), model)


def _layer(name: str, graph: Any, size: int, passed: Flow, seed: int) -> Row:
    edges = sparse.csr_array(graph != 0)
    left, right = degrees(edges)
    worst_in, worst_out = worst_expansion(edges)
    measures = describe(edges, numpy_generator(seed, "diagnose", name))
    return {
        "kept": int(graph.sum()),
        "size": size,
        **{key: value if key in REAL else int(value) for key, value in measures.items()},
        "degrees_in": _histogram(left),
        "degrees_out": _histogram(right),
        "worst_in": worst_in,
        "worst_out": worst_out,
        "reached_in": int(passed.into[name].sum()),
        "reached_out": int(passed.out[name].sum()),
        "useful_out": int(passed.on[name].sum()),
        "effective": passed.effective[name],
        "log10_paths": passed.log10_paths[name],
    }


def whole(rows: list[Row], passed: Flow) -> Row:
    """Return the row of the whole network from those of its layers.

    Sums: kept, size, edges, isolated_in, isolated_out, effective; density = kept / size; effective_share = effective /
    kept. Over the layers that are not complete graphs ("sparse" of them): ``ramanujan`` (the share that passes),
    ``sigma2_bound`` (mean of sigma2 / bound), ``sigma2_sigma1`` (mean), ``gap``, ``worst_in`` and ``worst_out``
    (least), ``expansion`` (mean), ``components`` (most). ``reached_out``, ``useful_out``: the least share of a layer's
    outputs.
    ``log10_paths`` (from the image to the last layer's outputs) and ``mixing``: see ``Flow``.
    """
    sums = {key: sum(row[key] for row in rows) for key in ("kept", "size", "edges", "isolated_in", "isolated_out")}
    effective = sum(row["effective"] for row in rows)
    partial = [row for row in rows if row["edges"] < row["inputs"] * row["outputs"]] or rows
    return {
        "layer": "network",
        **sums,
        "density": sums["kept"] / max(sums["size"], 1),
        "effective": effective,
        "effective_share": effective / max(sums["kept"], 1),
        "sparse": len(partial),
        "ramanujan": _mean(row["ramanujan"] for row in partial),
        "sigma2_bound": _mean(row["sigma2"] / max(row["bound"], 1e-9) for row in partial),
        "sigma2_sigma1": _mean(row["sigma2"] / max(row["sigma1"], 1e-9) for row in partial),
        "gap": min(row["gap"] for row in partial),
        "worst_in": min(row["worst_in"] for row in partial),
        "worst_out": min(row["worst_out"] for row in partial),
        "expansion": _mean(row["expansion"] for row in partial),
        "components": max(row["components"] for row in partial),
        "reached_out": min(row["reached_out"] / row["outputs"] for row in rows),
        "useful_out": min(row["useful_out"] / row["outputs"] for row in rows),
        "log10_paths": list(passed.log10_paths.values())[-1],
        "mixing": passed.mixing,
    }


def diagnose_run(settings: Mapping[str, Any], data: Path, mask: Path, table: Path, record: Path) -> None:
    """Diagnose the mask of one run; write its rows to ``table`` (CSV, the network's row last) and ``record`` (JSON).

    ``data``: the run's data file, which says what the network's input looks like; no data are used. In the CSV a
    histogram reads "3:62 4:2"; the JSON has {"layers": [...], "network": {...}}, where null stands for what is not
    finite. Raises ArtefactError for a file that can't be read, MethodError for a mask of another network.
    """
    task = open_task(settings, data)
    rows, network = diagnose(Mask.load(mask), task.build(), task.example.cpu(), settings["seed"])
    columns = list(dict.fromkeys(key for row in [*rows, network] for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([{key: _cell(value) for key, value in row.items()} for row in [*rows, network]])
    write_text(table, text.getvalue())
    write_json(record, {"layers": [_finite(row) for row in rows], "network": _finite(network)})


def _cell(value: Any) -> Any:
    return " ".join(f"{key}:{count}" for key, count in value.items()) if isinstance(value, dict) else value


def _finite(row: Row) -> Row:
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _histogram(side: np.ndarray) -> dict[str, int]:
    values, counts = np.unique(side.astype(np.int64), return_counts=True)
    return {str(degree): int(count) for degree, count in zip(values, counts, strict=True)}
