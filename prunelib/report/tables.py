"""Result tables on disk: CSV with a fixed order and number format, so that equal results are equal bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prunelib.errors import ArtefactError
from prunelib.storage.files import atomic_path

LABELS = ("paper", "task", "model", "method", "budget")
IDENTITY = (*LABELS, "seed", "status", "scale", "why")
STATUSES = {
    "ok": "finished",
    "dead": "recognised before training as a network that can't carry a signal; not trained",
    "failed": "its last job failed; why says how",
    "running": "a process is at work on it",
    "missing": "in the grid, but not run yet",
}
LOST = ("dead", "failed", "running", "missing")  # without a result, so far or for good


def cell(value: Any) -> str:
    """Write one value: integers whole, other numbers to six decimals (scientific below 0.001), None and NaN empty.

    Six decimals are far below the spread over seeds and above the last bits in which two processors may differ; below
    1e-12 there is only rounding, written as 0.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool | str):
        return str(value)
    value = 0 if abs(value) < 1e-12 else value
    if float(value).is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6f}" if abs(value) >= 1e-3 else f"{value:.6e}"


def write_table(path: str | Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV atomically; a key that a row lacks is an empty cell."""
    with atomic_path(path) as temporary:
        _cells(columns, rows).to_csv(temporary, index=False, lineterminator="\n")


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table back: labels as text, ``seed`` as integer, every column of numbers as float, NaN for empty."""
    if not Path(path).is_file():
        raise ArtefactError(f"{path}: missing; the step that collects the runs has not written it.")
    return _typed(pd.read_csv(path, dtype=str, keep_default_na=False))


def as_table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return rows exactly as ``read_table`` would give them back after ``write_table``: with the published digits."""
    return _typed(_cells(columns, rows))


def _cells(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    text = [[cell(row.get(column)) for column in columns] for row in rows]
    return pd.DataFrame(text, columns=list(columns), dtype=str)


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    for column in frame.columns:
        if column == "seed":
            frame[column] = frame[column].astype(int)
        elif column not in IDENTITY:
            frame[column] = _numbers_or_text(frame[column])
    return frame.copy()  # in one piece: columns set one by one make every later use slow


def _numbers_or_text(column: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(column.replace("", None), errors="coerce")
    is_numeric = bool((numbers.notna() | (column == "")).all())
    return numbers.astype(float) if is_numeric else column


def metrics_of(frame: pd.DataFrame) -> list[str]:
    """Return the metric columns of a table, in its order."""
    return [column for column in frame.columns if column not in IDENTITY]
