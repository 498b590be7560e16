"""Recorded benchmarks for the page: each table with the machine it was measured on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from prunelib.errors import ArtefactError
from prunelib.report.page.tables import Cell, Column, Table, data_uri
from prunelib.report.tables import read_table
from prunelib.report.words import DASH, number
from prunelib.storage.files import read_json

MEANINGS = {
    "ratio": "the median over rounds of two times measured side by side, or of the two medians",
    "pass": "forward, both ways, inference, or a training step",
    "authors": "the same ratio in the authors' README: their code, a GPU",
    "bound": "the least ratio by operations, with every pass at full width",
    "bound_narrow": "the least ratio by operations, with half of the units gone from every state's pass",
    "expected": "p² - p at this share p, what units that have nothing to do with each other cost",
    "asked": "the energy when its minimum is asked to lie elsewhere",
    "form": "how the layers are computed",
    "plan_s": "processor time of the plan alone: which runs there are, and which share a job",
    "job_cpu_s": "processor time of one job on a cluster that computes next to nothing",
    "cpu_s_per_step": "all processor time but that of planning, by the number of steps",
    "table_s": "processor time of reading metrics and making the table",
    "record_s": "processor time of hashing what is read and finding the records of the jobs that made it",
}


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: its table, the command that made it, the machine, and what else a reader has to know."""

    table: Table
    command: str
    machine: str
    facts: str


def benchmarks(tables: Iterable[Path]) -> list[Benchmark]:
    """Read benchmark tables (CSV, beside each the JSON that ``benchmarks/common.py`` writes), sorted by name.

    Raises ArtefactError for a table without its JSON, or one that names no machine.
    """
    return [_read(Path(path)) for path in sorted(map(Path, tables))]


def _read(path: Path) -> Benchmark:
    rows, record = read_table(path), read_json(path.with_suffix(".json"))
    if not isinstance(record, dict) or not isinstance(record.get("machine"), dict) or not record.get("command"):
        raise ArtefactError(f"{path.with_suffix('.json')}: says no machine or command; run the benchmark again.")
    columns = [
        Column(name.replace("_", " "), MEANINGS.get(name, ""), bool(pd.api.types.is_numeric_dtype(rows[name])))
        for name in rows
    ]
    cells = [[_cell(value) for value in row] for row in rows.itertuples(index=False)]
    title = record.get("what") or path.stem.replace("_", " ")
    table = Table(title.rstrip("."), columns, cells, path.name, data_uri(path, "text/csv"))
    return Benchmark(table, record["command"], machine_line(record), _facts(record))


def machine_line(record: dict[str, Any]) -> str:
    """Write the machine in one line: processor, GPU, cores, threads, versions, date, load."""
    machine, packages = record["machine"], record.get("packages") or {}
    said = [machine.get("cpu"), machine.get("gpu")]
    said += [f"{machine[name]} {name}" for name in ("cores", "threads") if machine.get(name) is not None]
    said += [f"{name} {packages[name]}" for name in ("torch", "numpy", "scipy") if name in packages]
    said += [record.get("date") or record.get("recorded"), f"load {record['load']}" if "load" in record else None]
    return ", ".join(str(part) for part in said if part)


def _facts(record: dict[str, Any]) -> str:
    known = {"what", "command", "date", "load", "prunelib", "commit", "dirty", "python", "packages", "machine"}
    return ", ".join(f"{name} {value}" for name, value in record.items() if name not in known)


def _cell(value: Any) -> Cell:
    if pd.isna(value):
        return Cell(DASH)
    if isinstance(value, float):
        return Cell(number(value, 0 if value.is_integer() else 1 if abs(value) >= 100 else 3), value)
    return Cell(str(value), value)
