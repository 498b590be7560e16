"""Every number that the page shows is in a CSV file, in the unit and with the digits it is shown with.

Left out is what was written by hand: sources, caveats, captions, and the rules of verdicts.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from prunelib.report import published
from prunelib.report.figures.captions import CAPTIONS
from prunelib.report.page.build import TEMPLATES
from prunelib.report.papers import PARTS
from prunelib.report.tables import read_table
from prunelib.report.words import METRICS, duration, number
from tests.report.test_page import Page
from tests.report.trees import collected, drawn, write_crossover, write_tree

FACTORS = sorted({1.0, 100.0, *(metric.factor for metric in METRICS.values())})
NUMBER = re.compile(r"[+\N{MINUS SIGN}-]?\d[\d\u202f]*(?:\.\d+)?")


class Numbers(Page):
    """Collects the cells of columns of numbers, with the caption of their table; and all text outside of cells."""

    def __init__(self, text: str) -> None:
        self.found: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.caption = ""
        super().__init__(text)

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        if "caption" in self.stack:
            self.caption = data
        classes = next((dict(kept) for tag, kept in reversed(self.tags) if tag == "td"), {}).get("class") or ""
        if "td" in self.stack and "num" in classes.split():
            self.found.append((self.caption, data.strip()))
        if "body" in self.stack and not {"script", "style", "code", "td"} & set(self.stack):
            self.said.append(re.sub(r"[^\S\u202f]+", " ", data.strip()))


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


def counts(root: Path) -> set[str]:
    """Return how many runs are in which state, and how many rows of the scorecard have which verdict, by paper."""
    runs = pd.read_csv(root / "tables" / "all_runs.csv", low_memory=False)
    rows = pd.read_csv(root / "tables" / "scorecard.csv", low_memory=False)
    found = {len(runs), *runs.status.value_counts()}
    for column in ("paper", ["paper", "verdict"]):
        found |= set(rows.groupby(column).size())
    return {number(value, 0) for value in found} | {str(value) for value in found}


@cache
def handwritten() -> str:
    """Return the sentences that stand in the source as the page shows them."""
    parts = [line for part in PARTS for line in (part.source, part.claim, *part.caveats)]
    captions = [line for caption in CAPTIONS for line in (caption.title, caption.text)]
    template = re.sub(r"\s+", " ", (TEMPLATES / "page.html").read_text(encoding="utf-8"))
    return "\n".join([*parts, *captions, template])


def by_hand(text: str) -> bool:
    """Say whether a text of the page was written by hand; a number alone, or with a few words, never counts as that."""
    return len(text) >= 30 and text.removeprefix("Source: ").removesuffix(".") in handwritten()


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


def test_every_number_in_a_sentence_is_in_a_csv_or_counts_its_rows(page_and_root: tuple[Numbers, Path]) -> None:
    html, root = page_and_root
    known = known_numbers(root) | counts(root)
    times = read_table(root / "provenance" / "runtimes.csv").wall_s.sum()
    said = [text.replace(duration(times), "") for text in html.said if not by_hand(text)]
    missing = {
        (text, part)
        for text in said
        for part in NUMBER.findall(text)
        if part not in known and part.lstrip("+-\N{MINUS SIGN}") not in known
    }
    assert sum(len(NUMBER.findall(text)) for text in said) > 700
    assert missing == set()


def test_what_a_card_says_of_a_claim_is_its_row_of_claims(page_and_root: tuple[Numbers, Path]) -> None:
    html, root = page_and_root
    rows = read_table(root / "tables" / "claims.csv")
    rows = rows[(rows.evidence == "grid") & rows["mean"].notna()]
    prose = " ".join(html.said)
    seen = 0
    for row in rows.itertuples():
        metric = METRICS[row.metric]
        lines = re.findall(rf"{re.escape(row.text)} \({row.pairs:.0f} pairs?\) (.{{80}})", prose)
        seen += len(lines)
        effect = number(metric.factor * row.mean, metric.decimals, signed=True)
        assert all(effect in line for line in lines), (row.text, effect, lines)
    assert seen >= 10
