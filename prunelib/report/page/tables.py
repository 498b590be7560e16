"""The tables of the page, as plain cells: the text shown and the value sorted by."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from prunelib.report.claims.judge import Judgement, Result
from prunelib.report.summary import settings_of, summarise
from prunelib.report.tables import LABELS, LOST
from prunelib.report.words import DASH, budget_name, duration, method_name, metric, number, shown
from prunelib.runs import Run

EMBED_BYTES = 400_000  # a larger CSV is named, not embedded
ANSWERS = {"yes": "yes", "no": "no", "unclear": "no clear difference", "no data": "not enough data"}


@dataclass(frozen=True)
class Column:
    """A column of a table on the page."""

    label: str
    meaning: str = ""
    numeric: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell: what is shown, and the value it is sorted by."""

    text: str
    sort: float | str = ""
    state: str = ""


@dataclass(frozen=True)
class Table:
    """A table with the CSV it comes from as a data URI."""

    caption: str
    columns: list[Column]
    rows: list[list[Cell]]
    source: str = ""
    download: str = ""


@dataclass(frozen=True)
class Finding:
    """What reading the published material brought to light, what follows from it, and the table it rests on."""

    title: str
    text: str
    evidence: Table


def data_uri(path: Path, kind: str) -> str:
    """Return a file as a data URI; an absent file or a CSV above EMBED_BYTES gives an empty string."""
    return _uri(path.read_bytes(), kind) if path.is_file() else ""


def rows_uri(path: Path, paper: str) -> str:
    """Return the rows of one paper of a CSV file, as they stand there, as a data URI; see ``data_uri``."""
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    return _uri(rows[rows.paper == paper].to_csv(index=False, lineterminator="\n").encode(), "text/csv")


def _uri(content: bytes, kind: str) -> str:
    if kind == "text/csv" and len(content) > EMBED_BYTES:
        return ""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def checks_table(judgement: Judgement, source: Path) -> Table:
    """Return the table of a claim's comparisons."""
    columns = [
        Column("Comparison"),
        Column("Answer"),
        Column("Means", "mean of the first and of the second side over all pairs", True),
        Column("Difference", "mean ± standard deviation over seeds; positive speaks for the claim", True),
        Column("Interval", "of the mean: 5 % lie on either side of it", True),
        Column("d_z", "mean over standard deviation of the difference", True),
        Column("p", "one-sided p-value of the paired t-test over seeds", True),
        Column("Pairs", "pairs of runs that share everything but what is compared", True),
        Column("Seeds", "different seeds among the pairs; one difference each", True),
        Column("Note"),
    ]
    rows = [_check_row(result) for result in judgement.results if is_said(result)]
    if not any(row[-1].text for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table("The comparisons behind the verdict", columns, rows, source.name, data_uri(source, "text/csv"))


def results_tables(runs: pd.DataFrame, runtimes: pd.DataFrame, names: Sequence[str], title: str) -> list[Table]:
    """Return one table per task: mean ± sd over seeds of the metrics ``names``, one row per setting, and the time.

    The model is a column only where method and budget do not tell the rows apart.
    """
    summary = summarise(runs)
    values = {(*row[:5], row.metric): row for row in summary.itertuples(index=False)}
    names = [name for name in names if name in set(summary.metric)]
    seconds = mean_seconds(runs, runtimes)
    tables = []
    for task, settings in settings_of(runs).groupby("task", sort=False):
        with_model = not _told_apart(settings)
        rows = []
        for setting in settings.itertuples(index=False):
            labels = tuple(getattr(setting, name) for name in LABELS)
            cells = [_metric_cell(name, values.get((*labels, name))) for name in names]
            spent = seconds.get(labels, math.nan)
            rows.append([*_setting_cells(setting, with_model), *cells, Cell(duration(spent), _sortable(spent))])
        where = str(task) if with_model or settings.model.nunique() > 1 else f"{task}, {settings.model.iloc[0]}"
        tables.append(Table(f"{title}: {where}", _result_columns(names, with_model), rows))
    return tables


def mean_seconds(runs: pd.DataFrame, runtimes: pd.DataFrame) -> dict[tuple[str, ...], float]:
    """Return the mean wall time of a setting's trainings, by labels."""
    times = dict(zip(runtimes.path, runtimes.wall_s, strict=True))
    spent = pd.Series([times.get(path_of(row), math.nan) for row in runs.itertuples()], index=runs.index, dtype=float)
    means = runs.assign(spent=spent).groupby(list(LABELS))["spent"].mean()
    return {labels: float(value) for labels, value in means.items()}


def runs_table(runtimes: pd.DataFrame) -> Table:
    """Return every run with its state, times and memory."""
    columns = [
        Column("Run", "directory below results/runs/"),
        Column("State"),
        Column("Wall time", "of its training", True),
        Column("CPU time", "of its training, all threads", True),
        Column("Step (ms)", "wall time of one optimizer step", True),
        Column("Memory (MB)", "peak resident memory of the process", True),
    ]
    rows = []
    for row in runtimes.itertuples(index=False):
        state = Cell(row.status, row.status, "" if row.status == "ok" else row.status)
        times = [Cell(duration(value), _sortable(value)) for value in (row.wall_s, row.cpu_s)]
        sizes = [Cell(number(row.step_ms, 2), _sortable(row.step_ms))]
        sizes.append(Cell(number(row.peak_rss_mb, 0), _sortable(row.peak_rss_mb)))
        rows.append([Cell(row.path, row.path), state, *times, *sizes])
    return Table(f"All {len(runtimes)} runs", columns, rows)


def effect(result: Result) -> str:
    """Write a mean difference with its spread and unit, signed so that positive speaks for the claim."""
    how = metric(result.check.metric)
    if result.mean is None:
        return DASH
    spread = "" if result.sd is None else f" ± {number(how.factor * result.sd, how.decimals)}"
    return f"{number(how.factor * result.mean, how.decimals, signed=True)}{spread} {how.difference_unit}".strip()


def levels(result: Result) -> str:
    """Write the two means that a check compares, for example "25.36 against 23.07 dB"."""
    how = metric(result.check.metric)
    if result.left is None or result.right is None:
        return DASH
    sides = [number(how.factor * value, how.decimals) for value in (result.left, result.right)]
    return f"{' against '.join(sides)} {how.unit}".strip()


def is_said(result: Result) -> bool:
    """An optional comparison that nobody ran is not worth a line."""
    return result.outcome != "no data" or not result.check.optional or bool(result.note)


def plain(value: float | None, decimals: int) -> Cell:
    """Return a cell of a number as it is."""
    return Cell(number(value, decimals), _sortable(value))


def path_of(row: Any) -> str:
    """Return the path of a run from a row of a table of runs."""
    return Run(row.paper, row.task, row.model, row.method, row.budget, row.seed).path


def _check_row(result: Result) -> list[Cell]:
    return [
        Cell(f"Beside the claim: {result.check.text}" if result.check.effect else result.check.text, result.check.text),
        Cell(ANSWERS[result.outcome], result.outcome, result.outcome),
        Cell(levels(result), _sortable(result.left)),
        Cell(effect(result), _sortable(result.mean)),
        *_test_cells(result),
        Cell(str(result.pairs), result.pairs),
        Cell(str(result.seeds), result.seeds),
        Cell(result.note),
    ]


def _test_cells(result: Result) -> list[Cell]:
    """Return interval, standardised effect and p-value; dashes where there was nothing to test."""
    test, how = result.test, metric(result.check.metric)
    if test is None or result.seeds < 2:
        return [Cell(DASH)] * 3
    ends = [number(how.factor * value, how.decimals, signed=True) for value in (test.low, test.high)]
    return [Cell(" to ".join(ends), test.low), plain(test.dz, 1), plain(result.p, 3)]


def _told_apart(settings: pd.DataFrame) -> bool:
    names = [(method_name(row.method, row.model), row.budget) for row in settings.itertuples()]
    return len(set(names)) == len(names)


def _setting_cells(setting: Any, with_model: bool) -> list[Cell]:
    lost = [kind for kind in LOST if getattr(setting, kind)]
    said = f" ({', '.join(f'{getattr(setting, kind)} {kind}' for kind in lost)})" if lost else ""
    return [
        Cell(method_name(setting.method, setting.model)),
        *([Cell(setting.model)] if with_model else []),
        Cell(budget_name(setting.budget), setting.budget),
        Cell(f"{setting.ok}{said}", setting.ok, lost[0] if lost else ""),
    ]


def _result_columns(names: Sequence[str], with_model: bool) -> list[Column]:
    return [
        Column("Method"),
        *([Column("Model")] if with_model else []),
        Column("Budget", "what was asked for"),
        Column("Seeds", "finished runs; those without a result in brackets", True),
        *(Column(metric(name).heading, metric(name).meaning, True) for name in names),
        Column("Time", "mean wall time of one training; finding the mask is not included", True),
    ]


def _metric_cell(name: str, row: Any) -> Cell:
    return Cell(shown(name, row.mean, row.sd), row.mean) if row else Cell(DASH)


def _sortable(value: float | None) -> float | str:
    return "" if value is None or math.isnan(value) else value
