"""Collect runs: every metrics.json becomes one row of a tidy table; times and machines go to a file of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prunelib.config import PARTS
from prunelib.errors import ArtefactError
from prunelib.report.claims.judge import OUTCOME_COLUMNS, judge, outcome_rows
from prunelib.report.findings.table import COLUMNS as FINDING_COLUMNS
from prunelib.report.findings.table import findings_rows
from prunelib.report.modes import COLUMNS as MODE_COLUMNS
from prunelib.report.modes import modes
from prunelib.report.progress import STATES, progress
from prunelib.report.reference import Reference
from prunelib.report.scorecard.points import COLUMNS as POINT_COLUMNS
from prunelib.report.scorecard.points import points
from prunelib.report.scorecard.score import COLUMNS as SCORECARD_COLUMNS
from prunelib.report.scorecard.score import scorecard
from prunelib.report.summary import SUMMARY_COLUMNS, summarise
from prunelib.report.tables import IDENTITY, LABELS, STATUSES, as_table, read_table, write_table
from prunelib.report.times import COLUMNS as TIME_COLUMNS
from prunelib.report.times import time_rows
from prunelib.report.words import method_order, metric_order
from prunelib.runs import Budget, Run
from prunelib.storage.files import read_json

ALL_RUNS = "all_runs"
TIMES = ("wall_s", "cpu_s", "steps", "step_ms", "peak_rss_mb", "peak_gpu_mb")
COSTS = ("macs_torch_pruning", "file_mb", "forward_mb_batch1", "forward_mb_batch16")
# What becomes columns, with this prefix, of the row that ``prunelib.methods.expander.diagnose.whole`` describes.
GRAPH = "graph_"
MEASURES = (
    "edges", "sigma2_bound", "sigma2_sigma1", "gap", "mixing", "ramanujan", "expansion", "worst_in", "worst_out",
    "components", "isolated_in", "isolated_out", "reached_out", "useful_out", "effective_share", "log10_paths",
)  # fmt: skip


def collect(
    metrics: Sequence[Path],
    tables: Mapping[str, Path],
    runtimes: Path | None = None,
    slim: Sequence[Path] = (),
    diagnostics: Sequence[Path] = (),
    costs: Sequence[Path] = (),
    reference: Sequence[Path] = (),
    spent: Sequence[Path] = (),
) -> None:
    """Write the deterministic result tables and, apart from them, the times, machines and versions.

    ``metrics`` are metrics.json paths; one that does not exist is a run with status "missing", "failed" or
    "running". ``slim`` are slim.json
    paths: sizes of the compacted network become columns of the tables, step times before and after go to ``runtimes``.
    ``diagnostics`` are diagnostics.json paths: what they say of a whole network becomes columns named graph_*.
    ``costs`` are files of ``prunelib.measure.network``: sizes become columns, times go to ``runtimes``, and so do those
    of ``spent``, spent.json paths that say how long a run's mask took to find.
    ``reference`` are CSV files of recorded runs, mask searches and benchmarks (below results/reference): evidence too.
    ``tables`` maps names to CSV paths: "all_runs", a part of the grid ("oes" ...) or a name of TABLES. Timing and
    provenance go to ``runtimes`` only, and times over seeds to times.csv beside it, so equal results give equal bytes.
    Raises ArtefactError for a file that is torn or foreign and for a table nobody knows.
    """
    cut = {Path(path).parent: _slim(Path(path)) for path in slim}
    graphs = {Path(path).parent: _graphs(Path(path)) for path in diagnostics}
    searched = {Path(path).parent: _spent(Path(path)) for path in spent}
    measured = {run: found for path in costs for run, found in _costs(Path(path)).items()}
    records = sorted(
        (
            _record(path)
            | {"slim": cut.get(path.parent, {}), "graphs": graphs.get(path.parent, {})}
            | {"mask": searched.get(path.parent, {})}
            | {"costs": measured.get("/".join(path.absolute().parent.parts[-6:]), {})}
            for path in map(Path, metrics)
        ),
        key=_order,
    )
    rows = [_row(record) for record in records]
    runs = as_table(*_columns_and_rows(rows))
    if runtimes is not None:
        write_table(runtimes, *_runtime_rows(records))
        write_table(Path(runtimes).with_name("times.csv"), TIME_COLUMNS, time_rows(runs, read_table(runtimes)))
    recorded = Reference.read(reference)
    for name, path in tables.items():
        if name in TABLES:
            write_table(path, *TABLES[name](runs, recorded))
        elif name in (ALL_RUNS, *PARTS):
            write_table(path, *_columns_and_rows([row for row in rows if name in (ALL_RUNS, row["paper"])]))
        else:
            allowed = ", ".join((ALL_RUNS, *TABLES, *PARTS))
            raise ArtefactError(f"{path}: no table is called '{name}'. Allowed: {allowed}.")


def _claims(runs: pd.DataFrame, reference: Reference) -> tuple[Sequence[str], list[dict[str, Any]]]:
    rows = outcome_rows(judge(runs))
    for name, table in reference.runs.items():
        rows += [row for row in outcome_rows(judge(table), name) if row["outcome"] != "no data"]
    return OUTCOME_COLUMNS, rows


# What is computed from the table of all runs and the recorded ones: columns and rows, by name.
TABLES: dict[str, Callable[[pd.DataFrame, Reference], tuple[Sequence[str], list[dict[str, Any]]]]] = {
    "summary": lambda runs, _: (SUMMARY_COLUMNS, summarise(runs).to_dict("records")),  # mean, sd over seeds; long
    "claims": _claims,  # every comparison and its outcome
    "modes": lambda runs, _: (MODE_COLUMNS, modes(runs)),  # which ranking of channels wins
    "scorecard": lambda runs, found: (SCORECARD_COLUMNS, scorecard(runs, judge(runs), found.runs)),
    "scorecard_points": lambda _, found: (POINT_COLUMNS, points(found.searches)),  # points of published curves
    "findings": lambda runs, found: (FINDING_COLUMNS, findings_rows(runs, found.benchmarks)),
}


def _columns_and_rows(rows: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    seen = {key for row in rows for key, value in row.items() if value is not None} - set(IDENTITY)
    return (*IDENTITY, *metric_order(seen)), rows


def _record(path: Path) -> dict[str, Any]:
    """Read one metrics.json; where there is none, stand in a record whose labels come from the path."""
    if not path.exists():
        run = Run.parse("/".join(path.absolute().parent.parts[-6:]))
        labels = {name: getattr(run, name) for name in (*LABELS, "seed")}
        return {"run": labels, **_unfinished(run, path.absolute().parents[7]), "metrics": {}}
    record = read_json(path)
    try:
        known = record["status"] in STATUSES and isinstance(record["metrics"], dict)
        Run(**{name: record["run"][name] for name in (*LABELS, "seed")})
    except (KeyError, TypeError):
        known = False
    if not known:
        raise ArtefactError(
            f"{path}: not a run's metrics (needs run with {', '.join(LABELS)} and seed, status one of "
            f"{', '.join(STATUSES)}, and metrics); delete it and run again."
        )
    return record


def _unfinished(run: Run, results: Path) -> dict[str, str]:
    """Return status and why of a run without metrics, by what else it has left."""
    (found,) = progress([run], results)
    status = found.state if found.state in ("failed", "running") else "missing"
    said = STATES["begun"] if found.state == "begun" else found.note or STATUSES[status]
    return {"status": status, "why": said}


def _slim(path: Path) -> dict[str, Any]:
    """Read one slim.json; a stand-in of stub mode has neither sizes nor times."""
    record = read_json(path)
    if not isinstance(record, dict) or not all(isinstance(record.get(key) or {}, dict) for key in ("slim", "timing")):
        raise ArtefactError(f"{path}: not a record of a compacted network; delete it and run again.")
    return record


def _costs(path: Path) -> dict[str, dict[str, Any]]:
    """Read one file of measured networks, by the path of their runs; a stand-in of stub mode has none."""
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("runs", {}), dict):
        raise ArtefactError(f"{path}: not a record of measured networks; delete it and run again.")
    shared = {name: record.get(name) for name in ("threads", "gpu")}
    return {run: found | {"timing": found["timing"] | shared} for run, found in record.get("runs", {}).items()}


def _spent(path: Path) -> dict[str, Any]:
    """Read how long one mask took to find; nothing where that was not run, or is a stand-in of stub mode."""
    record = read_json(path) if path.exists() else {}
    if not isinstance(record, dict):
        raise ArtefactError(f"{path}: not the time of a mask search; delete it and run again.")
    return {name: record[name] for name in ("wall_s", "cpu_s", "parent") if name in record}


def _graphs(path: Path) -> dict[str, Any]:
    """Read what one diagnostics.json says of the whole network, by the names of its columns."""
    record = read_json(path)
    network = record.get("network") if isinstance(record, dict) else None
    if not isinstance(network, dict):
        raise ArtefactError(f"{path}: not the diagnostics of a mask; delete it and run again.")
    return {f"{GRAPH}{name}": network.get(name) for name in MEASURES}


def _order(record: dict[str, Any]) -> tuple[Any, ...]:
    """Sort by paper, task, model, method as a reader expects them, budget from loose to tight, seed."""
    run = record["run"]
    budget = Budget.parse(run["budget"])
    where = tuple(run[name] for name in LABELS[:3])
    return (*where, method_order(run["method"]), budget.kind != "full", budget.kind, -(budget.value or 0), run["seed"])


def _row(record: dict[str, Any]) -> dict[str, Any]:
    labels = {name: record["run"][name] for name in (*LABELS, "seed")}
    state = {"status": record["status"], "scale": record.get("scale", ""), "why": record.get("why", "")}
    sizes = {f"{name}_slim": value for name, value in (record["slim"].get("slim") or {}).items()}
    measured = {name: value for name, value in record["costs"].get("size", {}).items() if name in COSTS}
    return labels | state | record["metrics"] | sizes | record["graphs"] | measured


def _runtime_rows(records: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    rows = []
    for record in records:
        labels = {name: record["run"][name] for name in (*LABELS, "seed")}
        times = {name: (record.get("timing") or {}).get(name) for name in TIMES}
        times |= {f"slim.{name}": value for name, value in (record["slim"].get("timing") or {}).items()}
        times |= {f"cost.{name}": value for name, value in record["costs"].get("timing", {}).items()}
        times |= {f"mask.{name}": value for name, value in record["mask"].items()}
        row = {"path": Run(**labels).path, "paper": labels["paper"], "status": record["status"], **times}
        rows.append(row | _flat(record.get("provenance") or {}))
    seen = {key for row in rows for key in row} - {"path", "paper", "status", *TIMES}
    return ("path", "paper", "status", *TIMES, *sorted(seen)), rows


def _flat(value: Mapping[str, Any], prefix: str = "provenance") -> dict[str, Any]:
    """Flatten nested provenance to columns such as provenance.hardware.cpu; lists become text."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}.{key}"
        if isinstance(item, Mapping):
            flat |= _flat(item, name)
        else:
            flat[name] = "; ".join(map(str, item)) if isinstance(item, list) else item
    return flat
