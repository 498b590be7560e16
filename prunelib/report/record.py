"""Record finished runs under results/reference: small text files that can be committed, with their provenance."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prunelib.config import load, read
from prunelib.errors import ConfigError
from prunelib.report.collect import COSTS
from prunelib.report.modes import COLUMNS as MODE_COLUMNS
from prunelib.report.modes import modes
from prunelib.report.structures import read_structures
from prunelib.report.tables import read_table, write_table
from prunelib.runs import Grid, Run
from prunelib.storage.files import atomic_path, read_json, write_json
from prunelib.storage.hdf5 import HISTORY, MASK, reading
from prunelib.storage.hdf5_reader import Group
from prunelib.storage.provenance import provenance

ROWS = 500  # of one curve; longer ones are thinned evenly, their first and last row stay
TIMES = ("s", "max_rss", "mean_load")  # of Snakemake's benchmark files: seconds, MB, percent of a core


def record(configuration: Path, name: str, results: Path = Path("results")) -> Path:
    """Write results/reference/<name>/ from the runs of a configuration that exist below ``results``; return it.

    runs.csv: labels, status and every metric; curves.csv: training histories; search.csv: search histories of masks;
    modes.csv: which ranking of channels wins; structures.csv: every group's widths and scores, where there are any;
    times.csv: what each job took; provenance.json: machine, versions, commit, the commits of the code that trained the
    runs, and of every artefact its sha256; config.yaml: the configuration. Raises ConfigError when none of its runs has
    a result yet.
    """
    grid = Grid(load(read(configuration)))
    found = [run for run in grid.runs if any(_artefacts(results, run).values())]
    if not found:
        raise ConfigError(f"{configuration}: none of its {len(grid.runs)} runs has a result below {results}/runs.")
    target = results / "reference" / name
    target.mkdir(parents=True, exist_ok=True)
    _write(target / "runs.csv", [_metrics(results, run) for run in found])
    _write(target / "curves.csv", _curves(results, found, "history.h5", "columns"))
    _write(target / "search.csv", _curves(results, found, "mask.h5", "history"))
    _write(target / "times.csv", list(_times(results, found)))
    _write(target / "structures.csv", _structures(results, found))
    if ranked := modes(read_table(target / "runs.csv")):
        write_table(target / "modes.csv", MODE_COLUMNS, ranked)
    files = {f"{run.path}/{path.name}": path for run in found for path in _artefacts(results, run).values() if path}
    write_json(
        target / "provenance.json",
        {
            "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
            "trained_by": _commits(results, found),
            "threads": grid.settings.threads,
        }
        | provenance(files),
    )
    if configuration.resolve() != (target / "config.yaml").resolve():
        with atomic_path(target / "config.yaml") as temporary:
            shutil.copyfile(configuration, temporary)
    return target


def _artefacts(results: Path, run: Run) -> dict[str, Path | None]:
    paths = {name: results / "runs" / run.path / name for name in ("metrics.json", "history.h5", "mask.h5")}
    return {name: path if path.is_file() else None for name, path in paths.items()}


def _commits(results: Path, runs: list[Run]) -> list[str]:
    """Return the commits of the code that trained the runs, with "-dirty" where files of it had been changed."""
    paths = [path for run in runs if (path := _artefacts(results, run)["metrics.json"])]
    made = [read_json(path).get("provenance", {}) for path in paths]
    return sorted({f"{each['commit']}{'-dirty' * bool(each['dirty'])}" for each in made if each.get("commit")})


def _metrics(results: Path, run: Run) -> dict[str, Any]:
    path = _artefacts(results, run)["metrics.json"]
    labels = _labels(run)
    if path is None:
        return labels | {"status": "only the mask was searched", "scale": "", "why": ""}
    written = read_json(path)
    timing = {f"timing.{key}": value for key, value in (written.get("timing") or {}).items()}
    head = labels | {key: written[key] for key in ("status", "scale", "why")}
    return head | written["metrics"] | timing | _costs(results, run)


def _costs(results: Path, run: Run) -> dict[str, Any]:
    """Return what was measured of a run's network beside others: sizes by name, times as cost.*."""
    path = results / "costs" / run.paper / run.task / f"{run.model}.json"
    record = read_json(path) if path.is_file() else {}
    found = record.get("runs", {}).get(run.path)
    if found is None:
        return {}
    timing = {**found["timing"], "threads": record["threads"], "gpu": record["gpu"]}
    return {name: found["size"][name] for name in COSTS} | {f"cost.{name}": value for name, value in timing.items()}


def _structures(results: Path, runs: list[Run]) -> list[dict[str, Any]]:
    rows = read_structures(results / "runs" / run.path / "pruned.json" for run in runs)
    return rows.astype(object).where(rows.notna(), None).to_dict("records")


def _curves(results: Path, runs: list[Run], file: str, group: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for run in runs:
        path = _artefacts(results, run)[file]
        if path is None:
            continue
        with reading(path, MASK, HISTORY) as stored:
            columns = _columns(stored.get(group))
        length = max(map(len, columns.values()), default=0)
        for row in np.unique(np.linspace(0, length - 1, min(ROWS, length)).round().astype(int)) if length else []:
            rows.append(_labels(run) | {name: float(values[row]) for name, values in columns.items()})
    return rows


def _columns(group: Group | None) -> dict[str, np.ndarray]:
    columns = {name: stored[()] for name, stored in (group or {}).items()}
    return dict(sorted(columns.items(), key=lambda item: (item[0] not in ("step", "epoch"), item[0])))


def _times(results: Path, runs: list[Run]) -> Iterator[dict[str, Any]]:
    for run in runs:
        for path in sorted((results / "benchmarks" / run.path).glob("*.tsv")):
            measured = pd.read_csv(path, sep="\t").iloc[-1]
            yield _labels(run) | {"step": path.stem} | {key: measured.get(key) for key in TIMES}


def _labels(run: Run) -> dict[str, Any]:
    return {"paper": run.paper, **{name: getattr(run, name) for name in ("task", "model", "method", "budget", "seed")}}


def _write(path: Path, rows: list[Mapping[str, Any]]) -> None:
    """Write rows with every column that any of them has, in the order they come; nothing when there are no rows."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if rows:
        write_table(path, columns, [{key: _plain(value) for key, value in row.items()} for row in rows])


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value
