"""Tables of structural pruning: which ranking wins, seed by seed, and how fast the smaller networks are."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from prunelib.report.page.tables import Cell, Column, Table, data_uri, path_of, plain
from prunelib.report.tables import LABELS, read_table
from prunelib.report.words import budget_name, method_name, shown

WHEN = {"top1_start": "right after pruning", "top1": "after fine-tuning"}
SIDES = (("cpu", "CPU"), ("cuda", "GPU"))
BATCHES = (1, 16)


def modes_tables(source: Path) -> list[Table]:
    """Return, per task, model and budget, how the rankings stand to each other before and after fine-tuning.

    ``source`` is modes.csv, see ``prunelib.report.modes``; it may have no rows, or be absent where nothing competes.
    """
    if not source.is_file():
        return []
    rows = read_table(source)
    return [
        Table(
            f"Which ranking wins: {model}, {budget_name(budget)}, {task}",
            _mode_columns(),
            [_mode_row(method, group) for method, group in part.groupby("method", sort=False)],
            source.name,
            data_uri(source, "text/csv"),
        )
        for (task, model, budget), part in rows.groupby(["task", "model", "budget"], sort=False)
    ]


def _mode_columns() -> list[Column]:
    columns = [Column("Ranking"), Column("Seeds", "those in which every ranking has a result", True)]
    for when in WHEN.values():
        columns += [
            Column(f"Top-1 (%) {when}", "mean ± standard deviation over seeds", True),
            Column("below the best", "points below the best of the same seed: mean ± standard deviation", True),
            Column("wins", "seeds in which it is the best, alone or with others", True),
        ]
    return columns


def _mode_row(method: str, rows: pd.DataFrame) -> list[Cell]:
    cells = [Cell(method_name(method)), plain(rows.seeds.max(), 0)]
    found = {row.metric: row for row in rows.itertuples()}
    for metric in WHEN:
        row = found.get(metric)
        if row is None:
            cells += [Cell("")] * 3
            continue
        cells += [
            Cell(shown("top1", row.mean, row.sd), row.mean),
            Cell(shown("top1", row.below_best, row.below_best_sd), row.below_best),
        ]
        cells += [Cell(f"{row.wins:.0f} of {row.seeds:.0f}", row.wins)]
    return cells


def speed_tables(runs: pd.DataFrame, runtimes: pd.DataFrame) -> list[Table]:
    """Return, per task and model, times of a forward pass, means over seeds, of runs that were measured."""
    columns = [name for name in runtimes if name.startswith("cost.")]
    if not columns or "path" not in runtimes:
        return []
    times = runtimes.set_index("path")[columns]
    rows = runs.drop(columns=columns, errors="ignore")  # recorded runs hold their times themselves
    rows = rows.assign(path=[path_of(row) for row in rows.itertuples()]).join(times, on="path")
    sides = [(f"cost.{key}_batch{count}", label, count) for key, label in SIDES for count in BATCHES]
    sides = [side for side in sides if f"{side[0]}_ms" in rows and rows[f"{side[0]}_ms"].notna().any()]
    rows = rows[rows[[f"{name}_ms" for name, *_ in sides]].notna().any(axis=1)] if sides else rows[:0]
    return [
        Table(
            f"Time of a forward pass: {model}, {task}{_where(group)}", _speed_columns(sides), _speed_rows(group, sides)
        )
        for (task, model), group in rows.groupby(["task", "model"], sort=False)
    ]


def _where(rows: pd.DataFrame) -> str:
    """Say on what was measured: threads of the CPU, name of the GPU."""
    threads = sorted({f"{value:g}" for value in rows.get("cost.threads", pd.Series(dtype=float)).dropna()})
    gpus = sorted({str(value) for value in rows.get("cost.gpu", pd.Series(dtype=object)).dropna() if str(value)})
    said = [f"CPU with {' or '.join(threads)} thread{'' if threads == ['1'] else 's'}"] if threads else []
    return f" ({'; '.join([*said, *gpus])})" if said or gpus else ""


def _speed_columns(sides: list[tuple[str, str, int]]) -> list[Column]:
    columns = [Column("Ranking"), Column("Budget"), Column("Seeds", "", True)]
    for _, label, count in sides:
        columns += [
            Column(f"{label}, batch {count} (ms)", "median of a forward pass, mean over seeds", True),
            Column("IQR (ms)", "interquartile range of the passes", True),
            Column("speed-up", "time of the dense network over this one's in the same round, median", True),
        ]
    return columns


def _speed_rows(rows: pd.DataFrame, sides: list[tuple[str, str, int]]) -> list[list[Cell]]:
    cells = []
    for (*_, method, budget), group in rows.groupby(list(LABELS), sort=False):
        row = [Cell(method_name(method)), Cell(budget_name(budget), budget), plain(len(group), 0)]
        for name, *_ in sides:
            row += [plain(_mean(group, f"{name}_{what}"), 2) for what in ("ms", "iqr_ms", "speedup")]
        cells.append(row)
    return cells


def _mean(rows: pd.DataFrame, name: str) -> float:
    return float(rows[name].mean()) if name in rows else math.nan
