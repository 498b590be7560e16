"""What the benchmarks share: tables as CSV, each with a JSON file on what it was measured with; timed commands."""

from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from prunelib.storage.files import atomic_path, write_json
from prunelib.storage.provenance import provenance

ROOT = Path(__file__).parents[1]
WORKFLOW = ("Snakefile", "rules", "workflow_scripts", "prunelib", "profiles", "envs", "config.yaml")
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--configfile", "grid.yaml"]  # in a directory that was laid out


def lay_out(folder: str, grid: dict[str, Any]) -> None:
    """Make a directory one in which Snakemake can plan and run a grid of its own."""
    for part in WORKFLOW:
        Path(folder, part).symlink_to(ROOT / part)
    Path(folder, "grid.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")


def timed(folder: str, command: Sequence[str]) -> tuple[str, float, float, float]:
    """Run a command and what it starts; return what it said, its wall and processor seconds, its peak memory in MB."""
    with open(Path(folder, "said"), "w+", encoding="utf-8") as said:
        begun = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        said.seek(0)
        text = said.read()
    if status:
        raise SystemExit(text[-2000:])
    return text, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


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
