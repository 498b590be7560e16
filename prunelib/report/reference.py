"""Recorded results (results/reference) as evidence: runs, mask searches and benchmarks, told apart by their place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from prunelib.report.tables import STATUSES, read_table


@dataclass(frozen=True)
class Reference:
    """Tables by folder name (``runs``), by folder seen from results/runs (``searches``), by file (``benchmarks``)."""

    runs: dict[str, pd.DataFrame]
    searches: dict[str, pd.DataFrame]
    benchmarks: dict[str, pd.DataFrame]

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Reference:
        """Read runs.csv, search.csv and benchmarks/*.csv among ``paths``; runs that were not trained are left out.

        Raises ArtefactError for a file that is missing.
        """
        found = cls({}, {}, {})
        for path in sorted(map(Path, paths)):
            folder = path.parent.name
            if folder == "benchmarks":
                found.benchmarks[path.stem] = read_table(path)
            elif path.name == "search.csv":
                found.searches[f"../reference/{folder}"] = read_table(path)
            elif path.name == "runs.csv":
                table = read_table(path)
                trained = table[table.status.isin(STATUSES)]
                if len(trained):
                    found.runs[folder] = trained.reset_index(drop=True)
        return found
