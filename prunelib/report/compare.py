"""Two result trees side by side: the same runs on two machines, of two commits, or of two methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from prunelib.errors import ArtefactError, ConfigError, nearest
from prunelib.report.collect import ALL_RUNS, collect
from prunelib.report.tables import LABELS, metrics_of, read_table

KEY = [*LABELS, "seed"]
COLUMNS = (*KEY, "metric", "a", "b", "difference", "tolerance", "verdict")
EQUAL, WITHIN, DIFFERS = "equal", "within tolerance", "differs"
ONLY_A, ONLY_B = "only in A", "only in B"
BROKEN = (DIFFERS, ONLY_A, ONLY_B)  # what makes two trees differ


@dataclass(frozen=True)
class Tolerance:
    """How far apart two values may lie: the larger of an absolute and a relative part; metrics may have their own.

    |a - b| <= max(absolute, relative · max(|a|, |b|)); ``own``: absolute parts by metric, which replace both.
    """

    absolute: float = 0.0
    relative: float = 0.0
    own: Mapping[str, float] | None = None

    def of(self, metric: str, a: float, b: float) -> float:
        """Return the allowed distance of two values of a metric."""
        if self.own and metric in self.own:
            return self.own[metric]
        return max(self.absolute, self.relative * max(abs(a), abs(b)))


def read_tree(path: Path, scratch: Path) -> pd.DataFrame:
    """Return the runs of a result tree: of its runs/, or of a table of runs (recorded runs, all_runs.csv).

    ``scratch``: a folder for the table that is made of runs/. Raises ArtefactError where there is neither.
    """
    path = Path(path)
    metrics = sorted(path.glob("runs/*/*/*/*/*/seed*/metrics.json"))
    if metrics:
        collect(metrics, {ALL_RUNS: scratch / "all_runs.csv"})
        return read_table(scratch / "all_runs.csv")
    tables = [path, path / "tables" / "all_runs.csv", path / "all_runs.csv", path / "runs.csv"]
    found = next((file for file in tables if file.is_file()), None)
    if found is None:
        raise ArtefactError(f"{path}: no results. It should have finished runs in runs/, or a table of runs (CSV).")
    runs = read_table(found)
    if missing := [name for name in (*KEY, "status") if name not in runs]:
        raise ArtefactError(f"{found}: no table of runs, it has no column {', '.join(missing)}.")
    return runs[[name for name in runs if not name.startswith(("timing.", "cost."))]]


def relabel(runs: pd.DataFrame, same: Mapping[str, str]) -> pd.DataFrame:
    """Return the runs whose method has a partner in ``same``, under the partner's label."""
    for label in same:
        if label not in set(runs.method):
            raise ConfigError(f"--as {label}=...: tree A has no method '{label}'." + nearest(label, set(runs.method)))
    return runs[runs.method.isin(same)].assign(method=lambda found: found.method.map(same))


def compare(a: pd.DataFrame, b: pd.DataFrame, tolerance: Tolerance, metrics: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row (COLUMNS) per run and metric: both values, b - a, what is allowed, and the verdict.

    ``metrics``: those to compare, all that either tree has by default; a run's status is compared always. A value that
    one side lacks differs from any number. Raises ConfigError for a metric that neither tree has.
    """
    known = dict.fromkeys([*metrics_of(a), *metrics_of(b)])
    for metric in metrics:
        if metric not in known:
            raise ConfigError(f"--metric {metric}: neither tree has it." + nearest(metric, known))
    a, b = (runs.reindex(columns=[*KEY, "status", *known]) for runs in (a, b))
    both = a.merge(b, on=KEY, how="outer", suffixes=("_a", "_b"), indicator="side")
    rows = []
    for run in both.to_dict("records"):
        labels = {name: run[name] for name in KEY}
        if run["side"] != "both":
            only = ONLY_A if run["side"] == "left_only" else ONLY_B
            rows.append(labels | {"metric": "", "verdict": only})
            continue
        statuses = {"a": run["status_a"], "b": run["status_b"]}
        same = EQUAL if statuses["a"] == statuses["b"] else DIFFERS
        rows.append(labels | {"metric": "status", **statuses, "verdict": same})
        for metric in metrics or known:
            values = {side: run[f"{metric}_{side}"] for side in "ab"}
            if not all(map(pd.isna, values.values())):
                rows.append(labels | {"metric": metric} | values | _verdict(metric, *values.values(), tolerance))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _verdict(metric: str, a: Any, b: Any, tolerance: Tolerance) -> dict[str, Any]:
    if pd.isna(a) or pd.isna(b) or not all(isinstance(value, int | float) for value in (a, b)):
        return {"verdict": EQUAL if a == b else DIFFERS}
    allowed = tolerance.of(metric, a, b)
    verdict = EQUAL if a == b else WITHIN if abs(b - a) <= allowed else DIFFERS
    return {"difference": b - a, "tolerance": allowed, "verdict": verdict}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per metric: how many values were compared, how many differ, and the largest distance."""
    compared = table[table.metric != ""]
    distance = pd.to_numeric(compared.difference, errors="coerce").abs()
    groups = compared.assign(distance=distance, differ=compared.verdict == DIFFERS).groupby("metric", sort=False)
    found = groups.agg(values=("verdict", "size"), differ=("differ", "sum"), largest=("distance", "max"))
    return found.reset_index()
