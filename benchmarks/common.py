"""What the benchmarks share: a table as CSV, and beside it a JSON file that says what it was measured with."""

from __future__ import annotations

import csv
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prunelib.storage.files import atomic_path, write_json
from prunelib.storage.provenance import provenance


def save(path: Path, what: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], **facts: str | float) -> None:
    """Write a table to ``path`` (.csv) and, to the same name with .json, what it is and where it was measured.

    ``what``: the benchmark's docstring, whose first sentence is recorded; ``facts``: what else the reader of a row has
    to know, such as the clock. The JSON has {"what", "command", "date" (UTC), "load" (of the last minute), facts} and
    ``prunelib.storage.provenance`` (machine, threads, versions, commit). In results/reference/benchmarks/ the page
    shows it.
    """
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    made_with = {name: value for name, value in provenance({}).items() if name != "inputs"}
    head = {"what": what.split("\n")[0].split(": python ")[0].strip(), "command": command(sys.argv)}
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    write_json(
        path.with_suffix(".json"), head | {"date": date, "load": round(os.getloadavg()[0], 1)} | facts | made_with
    )


def command(arguments: Sequence[str]) -> str:
    """Return the command line of a benchmark, without where its table went."""
    kept, skip = [], False
    for argument in arguments[1:]:
        if not skip and argument.partition("=")[0] != "--csv":
            kept.append(argument)
        skip = argument == "--csv"
    return shlex.join(["python", f"benchmarks/{Path(arguments[0]).name}", *kept])
