"""What the sections of the page show, as plain values: the template only lays it out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prunelib.report.claims.check import EQUAL_WITHIN, MIN_SEEDS
from prunelib.report.claims.judge import Judgement, Result
from prunelib.report.figures.captions import CAPTIONS, Caption
from prunelib.report.findings.table import read_findings
from prunelib.report.page.crossover import absent_table, crossover_tables
from prunelib.report.page.isomorphic import modes_tables, speed_tables
from prunelib.report.page.more import scorecard_table, slim_table
from prunelib.report.page.tables import (
    ANSWERS,
    Cell,
    Column,
    Table,
    checks_table,
    data_uri,
    effect,
    is_said,
    levels,
    path_of,
    results_tables,
)
from prunelib.report.papers import COST, GRAPHS, PARTS, SEARCH, Part
from prunelib.report.tables import LOST
from prunelib.report.words import duration

SVG_BYTES = 600_000  # a larger drawing is shown as pixels
MOST_ROWS, MOST_LOST = 300, 100  # rows of a table, and runs without a result, that the page shows
MEANING = {
    "holds": "Every comparison that this claim rests on came out in its favour here.",
    "partly": "Some of the comparisons that this claim rests on came out in its favour here, others did not.",
    "does not hold here": "None of the comparisons that this claim rests on came out in its favour here.",
    "not enough data": "There are not enough finished pairs of runs here to decide.",
}


def overview(runs: pd.DataFrame, runtimes: pd.DataFrame) -> dict[str, Any]:
    """Return the head of the page: how many runs in which state, how long they took, per part and in all."""
    seconds = runtimes["wall_s"] if "wall_s" in runtimes else pd.Series(dtype=float)
    lost = [state for state in LOST if (runs.status == state).any()]
    rows = []
    for part in PARTS:
        mine = runs[runs.paper == part.key]
        if len(mine):
            spent = float(seconds[runtimes.paper == part.key].sum())
            states = [(state, int((mine.status == state).sum())) for state in ("ok", *lost)]
            counts = [Cell(str(count), count, state if state != "ok" and count else "") for state, count in states]
            seeds = mine.seed.nunique()
            rows.append([Cell(part.title), *counts, Cell(str(seeds), seeds), Cell(duration(spent), spent)])
    columns = [
        Column("Part"),
        *(Column(label, numeric=True) for label in ("Finished", *map(str.title, lost), "Seeds", "Training time")),
    ]
    return {
        "total": len(runs),
        "ok": int((runs.status == "ok").sum()),
        "lost": [(state, int((runs.status == state).sum())) for state in lost],
        "time": duration(float(seconds.sum())),
        "table": Table("Runs and training time per part (sum over runs)", columns, rows),
    }


def section(
    part: Part, runs: pd.DataFrame, runtimes: pd.DataFrame, judgement: Judgement | None, tables: Path, figures: Path
) -> dict[str, Any]:
    """Return one part's section: claim, verdict and its checks (where there is a claim), results, figures."""
    mine = runs[runs.paper == part.key]
    results = judgement.results if judgement else ()
    return {
        "part": part,
        "has_runs": bool(len(mine)),
        "verdict": judgement.verdict if judgement else "",
        "meaning": meaning(judgement) if judgement else "",
        "headlines": [headline(result) for result in results if _on_the_card(result)],
        "checks": checks_table(judgement, tables / "claims.csv") if judgement else None,
        "results": results_tables(mine, runtimes, part.columns, "Results"),
        "findings": read_findings(tables / "findings.csv", part.key),
        "scorecard": scorecard_table(part.key, tables / "scorecard.csv"),
        "costs": results_tables(mine, runtimes, COST, "Size and cost"),
        "searches": _where_measured(mine, runtimes, SEARCH, "Mask search"),
        "graphs": _where_measured(mine, runtimes, GRAPHS, "Masks as graphs"),
        "crossover": crossover_tables(mine, runtimes) if part.key == "crossover" else [],
        "absent": absent_table() if part.key == "crossover" else None,
        "modes": modes_tables(tables / "modes.csv") if part.key == "isomorphic" else [],
        "slim": slim_table(mine, runtimes),
        "speeds": speed_tables(mine, runtimes),
        "download": data_uri(tables / f"{part.key}.csv", "text/csv"),
        "figures": figures_of(part.key, figures),
        "lost": lost_runs(mine, part.columns),
    }


def _where_measured(runs: pd.DataFrame, times: pd.DataFrame, names: Sequence[str], title: str) -> list[Table]:
    """Return the tables of those runs that have any of these metrics."""
    measured = [name for name in names if name in runs]
    runs = runs[runs[measured].notna().any(axis=1)] if measured else runs[:0]
    return results_tables(runs, times, names, title) if len(runs) else []


def headline(result: Result) -> dict[str, str]:
    """Return one line of a claim's card: the comparison, the two means, their difference, the answer."""
    check = result.check
    shown = {"text": check.text, "levels": levels(result), "effect": effect(result), "pairs": str(result.pairs)}
    return shown | {"answer": result.outcome, "said": ANSWERS[result.outcome]}


def _on_the_card(result: Result) -> bool:
    """Whether a claim's card shows a comparison: the main ones, and every one that keeps the claim from holding."""
    against = result.outcome in ("no", "unclear") and not result.check.effect
    return is_said(result) and (result.check.headline or against)


def meaning(judgement: Judgement) -> str:
    """Say in words what the verdict rests on, and name what spoke against the claim or stayed open."""
    said = [MEANING[judgement.verdict]]
    for outcome, lead in (("no", "Against it"), ("unclear", "No clear difference")):
        results = [result for result in judgement.results if not result.check.effect]
        against = [result.check.text for result in results if result.outcome == outcome]
        if against and judgement.verdict != "does not hold here":
            said.append(f"{lead}: {'; '.join(against)}.")
    return " ".join(said)


def lost_runs(runs: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the runs that gave no result, with the cause; one that finished with none of ``columns`` is no number."""
    known = [name for name in columns if name in runs]
    empty = runs[known].isna().all(axis=1) if known else pd.Series(True, runs.index)
    lost = [
        {"path": path_of(row), "status": row.status, "why": row.why} for row in runs[runs.status != "ok"].itertuples()
    ]
    for row in runs[(runs.status == "ok") & empty].itertuples():
        lost.append({"path": path_of(row), "status": "dead", "why": "it finished, and its result is no number (NaN)"})
    return lost


def provenance(runtimes: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (what, value) lines: each provenance column with its value or, where runs differ, its first three."""
    lines = []
    for column in runtimes.columns:
        if column.startswith("provenance.") and not column.startswith("provenance.inputs"):
            values = sorted({str(value) for value in runtimes[column].dropna() if str(value)})
            if values:
                more = f" and {len(values) - 3} more" if len(values) > 3 else ""
                lines.append((column.removeprefix("provenance."), "; ".join(values[:3]) + more))
    return lines


def is_stub(runtimes: pd.DataFrame) -> bool:
    """Say whether any run is only a stand-in made by ``mode: stub``."""
    return "provenance.stub" in runtimes and (runtimes["provenance.stub"] == "True").any()


def rules() -> dict[str, str]:
    """Return the numbers of the verdict rules for the page's explanation."""
    return {"pairs": str(MIN_SEEDS), "equal": f"{100 * EQUAL_WITHIN:g} %", "alike": "0.1 dB or one point"}


def figures_of(part: str, figures: Path) -> list[dict[str, Any]]:
    """Return the figures of one part, each with its caption, picture and numbers as data URIs."""
    return [_figure(caption, figures) for caption in CAPTIONS if caption.part == part]


def _figure(caption: Caption, figures: Path) -> dict[str, Any]:
    """A picture whose SVG is large shows as PNG, so that a grid of thousands of runs still makes a page to send."""
    source = figures / f"{caption.name}.csv"
    drawn = source.is_file() and source.stat().st_size > 1
    vector, pixels = figures / f"{caption.name}.svg", figures / f"{caption.name}.png"
    small = not vector.is_file() or vector.stat().st_size <= SVG_BYTES
    image = data_uri(vector, "image/svg+xml") if small else data_uri(pixels, "image/png")
    return {"caption": caption, "drawn": drawn and bool(image), "image": image, "csv": data_uri(source, "text/csv")}
