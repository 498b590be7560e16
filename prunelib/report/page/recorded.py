"""Recorded runs (results/reference) for the page: what runs larger than this grid gave, with their machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from prunelib.report.claims.judge import judge
from prunelib.report.page.benchmarks import machine_line
from prunelib.report.page.isomorphic import modes_tables, speed_tables
from prunelib.report.page.sections import headline
from prunelib.report.page.tables import Table, data_uri, path_of, results_tables
from prunelib.report.papers import PARTS
from prunelib.report.tables import STATUSES, read_table
from prunelib.storage.files import read_json


@dataclass(frozen=True)
class Recorded:
    """One folder: its results per task, the comparisons of its paper's claim, its machine and its data."""

    name: str
    title: str
    tables: list[Table]
    comparisons: list[dict[str, str]]
    machine: str
    download: str


def recorded(tables: Iterable[Path]) -> list[Recorded]:
    """Read runs.csv of folders that ``prunelib.report.record`` wrote; those that hold no training are left out.

    Raises ArtefactError for a file that is missing or foreign.
    """
    return [found for path in sorted(map(Path, tables)) for found in _read(path)]


def _read(path: Path) -> list[Recorded]:
    runs = read_table(path)
    runs = runs[runs.status.isin(STATUSES)]
    machine = machine_line(read_json(path.with_name("provenance.json")))
    found = []
    for part in PARTS:
        mine = runs[runs.paper == part.key]
        if len(mine):
            said = [result for item in judge(mine) if item.paper == part.key for result in item.results]
            compared = [headline(result) for result in said if result.outcome != "no data"]
            shown = results_tables(mine, _times(mine), part.columns, "Recorded") + speed_tables(mine, _times(mine))
            if part.key == "isomorphic":
                shown = modes_tables(path.with_name("modes.csv")) + shown
            found.append(Recorded(path.parent.name, part.title, shown, compared, machine, data_uri(path, "text/csv")))
    return found


def _times(runs: pd.DataFrame) -> pd.DataFrame:
    wall = runs["timing.wall_s"] if "timing.wall_s" in runs else float("nan")
    costs = {name: runs[name] for name in runs if name.startswith("cost.")}
    return pd.DataFrame({"path": [path_of(row) for row in runs.itertuples()], "wall_s": wall, **costs})
