"""Every number that a table of the page shows is in a CSV file, in the unit and with the digits it is shown with."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from prunelib.report import published
from prunelib.report.words import METRICS, duration, number
from tests.report.test_page import Page
from tests.report.trees import collected, drawn, write_crossover, write_tree

FACTORS = sorted({1.0, 100.0, *(metric.factor for metric in METRICS.values())})
NUMBER = re.compile(r"[+\N{MINUS SIGN}-]?\d[\d\u202f]*(?:\.\d+)?")


class Numbers(Page):
    """Collects the cells of columns of numbers, with the caption of their table."""

    def __init__(self, text: str) -> None:
        self.found: list[tuple[str, str]] = []
        self.caption = ""
        super().__init__(text)

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        if "caption" in self.stack:
            self.caption = data
        classes = next((dict(kept) for tag, kept in reversed(self.tags) if tag == "td"), {}).get("class") or ""
        if "td" in self.stack and "num" in classes.split():
            self.found.append((self.caption, data.strip()))


def known_numbers(root: Path) -> set[str]:
    """Every way in which the page may write a number of the CSV files below ``root`` and of the published ones."""
    files = [*root.rglob("*.csv"), *Path(published.__file__).parent.glob("*.csv")]
    values: set[float] = set()
    for file in files:
        if file.stat().st_size > 1:
            for _, column in pd.read_csv(file, low_memory=False).items():
                values |= set(pd.to_numeric(column, errors="coerce").dropna())
    said = {duration(value) for value in values if value >= 0}
    for factor in FACTORS:
        for value in values:
            said |= {number(abs(factor * value), decimals) for decimals in range(5)}
    return said


@pytest.fixture(scope="module")
def page_and_root(tmp_path_factory: pytest.TempPathFactory) -> tuple[Numbers, Path]:
    root = tmp_path_factory.mktemp("numbers")
    paths = write_tree(root, range(3)) + write_crossover(root, range(2))
    collected(root, paths)
    drawn(root, paths)
    return Numbers((root / "report" / "index.html").read_text(encoding="utf-8")), root


def test_every_number_in_a_table_is_in_a_csv(page_and_root: tuple[Numbers, Path]) -> None:
    html, root = page_and_root
    known = known_numbers(root)
    missing = {
        (caption, text)
        for caption, text in html.found
        for part in NUMBER.findall(text)
        if text not in known and part.lstrip("+-\N{MINUS SIGN}") not in known
    }
    assert len(html.found) > 1000 and not known & {"98765.43", "1.2346", "271.8"}
    assert missing == set()
