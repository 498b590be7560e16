import csv
import re
from pathlib import Path

import pytest

from prunelib.report.dictionary import LABELLED, dictionary
from prunelib.report.tables import IDENTITY, STATUSES
from prunelib.report.words import METRICS

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "columns.md"
RECORDED = sorted((ROOT / "results" / "reference").glob("*/runs.csv"))
ADDED = ("timing.", "cost.")  # what recording puts beside the columns of a table of runs


def documented():
    return re.findall(r"^\| `([^`]+)` \|", DOCUMENT.read_text(), re.MULTILINE)


def header(path):
    with path.open() as file:
        return next(csv.reader(file))


def test_the_document_has_every_column_that_there_can_be_and_nothing_else():
    assert DOCUMENT.read_text() == dictionary()
    assert documented() == [*IDENTITY, *METRICS] and set(LABELLED) == set(IDENTITY)


def test_every_column_of_the_table_of_runs_is_documented(tree):
    root, _ = tree
    columns = header(root / "tables" / "all_runs.csv")
    assert len(columns) > 30 and set(columns) <= set(documented())
    assert [name for name in documented() if name in columns] == columns


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.parent.name)
def test_columns_of_recorded_runs_are_documented(path):
    assert {name for name in header(path) if not name.startswith(ADDED)} <= set(documented())


def test_stored_units_are_not_those_of_the_page():
    rows = {line.split("`")[1]: line for line in dictionary().splitlines() if line.startswith("| `")}
    assert "| MACs | multiply-accumulates" in rows["macs"] and "| bytes |" in rows["bytes_dense"]
    assert "| share |" in rows["top1"] and "| MiB |" in rows["file_mb"] and len(STATUSES) >= 3
