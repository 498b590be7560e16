"""Findings as rows of one CSV table, and back: what the page shows is what the table holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from prunelib.config import PARTS
from prunelib.report.findings.gather import findings
from prunelib.report.page.tables import Cell, Column, Finding, Table
from prunelib.report.tables import read_table

# ``row`` 0 holds the columns' headings and what they mean; the finding's own words stand at ``column`` 0 of row -1.
COLUMNS = ("paper", "finding", "title", "caption", "row", "column", "shown", "value", "meaning")
WORDS, HEAD = -1, 0


def findings_rows(runs: pd.DataFrame, benchmarks: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Return the rows (keys of COLUMNS) of all findings of all parts; see ``prunelib.report.findings.gather``.

    One row per cell: ``shown`` as on the page, ``value`` the number it is sorted by ("text" for words). A finding's
    text is the cell at row -1, headings are at row 0; ``meaning`` has "number" first where a column holds numbers.
    """
    return [
        {"paper": part, "finding": place, "title": finding.title, "caption": finding.evidence.caption} | cell
        for part in PARTS
        if (runs.paper == part).any()
        for place, finding in enumerate(findings(part, runs, benchmarks), start=1)
        for cell in _cells(finding)
    ]


def _cells(finding: Finding) -> list[dict[str, Any]]:
    cells = [{"row": WORDS, "column": 0, "shown": finding.text, "value": "text"}]
    for place, column in enumerate(finding.evidence.columns):
        said = f"{'number' if column.numeric else 'words'}: {column.meaning}"
        cells.append({"row": HEAD, "column": place, "shown": column.label, "value": "text", "meaning": said})
    for number, row in enumerate(finding.evidence.rows, start=1):
        for place, cell in enumerate(row):
            value = "text" if isinstance(cell.sort, str) else repr(float(cell.sort))
            cells.append({"row": number, "column": place, "shown": cell.text, "value": value, "meaning": cell.state})
    return cells


def read_findings(path: Path, paper: str) -> list[Finding]:
    """Return the findings about a paper from the table that ``findings_rows`` made; [] when there are none."""
    table = read_table(path)
    mine = table[table.paper == paper]
    return [_finding(rows) for _, rows in mine.groupby("finding", sort=True)]


def _finding(rows: pd.DataFrame) -> Finding:
    first = rows.iloc[0]
    head = [_column(row) for row in rows[rows.row == HEAD].itertuples()]
    body = [list(map(_cell, cells.itertuples())) for _, cells in rows[rows.row > HEAD].groupby("row", sort=True)]
    text = rows.loc[rows.row == WORDS, "shown"].iloc[0]
    return Finding(first.title, text, Table(first.caption, head, body))


def _cell(row: Any) -> Cell:
    return Cell(row.shown, row.shown if row.value == "text" else float(row.value), row.meaning)


def _column(row: Any) -> Column:
    kind, _, meaning = row.meaning.partition(": ")
    return Column(row.shown, meaning, kind == "number")
