"""How far a grid is: what state each run is in by the files it has left, what it took, and what the rest will take.

Nothing here needs a running pipeline, a lock or torch; it only looks.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from prunelib.errors import ArtefactError
from prunelib.runs import Run
from prunelib.storage.files import read_json
from prunelib.storage.lease import holders

State = Literal["done", "dead", "running", "failed", "begun", "missing"]
STATES: dict[State, str] = {
    "done": "has its metrics",
    "dead": "recognised as a network that can't carry a signal, which is a result too",
    "running": "a living process holds its lease",
    "failed": "its last job says that it failed",
    "begun": "some of its files or checkpoints are there, and nobody works on it now",
    "missing": "nothing of it is there",
}
FAILED = "FAILED "  # how a step's log begins what it says last
TAIL = 4000  # bytes of a log's end that hold it
LABELS = ("paper", "task", "model", "method", "budget")


@dataclass(frozen=True)
class Progress:
    """One run: its state, the seconds its finished jobs took, and why it failed or who is at it."""

    run: Run
    state: State
    seconds: float
    note: str = ""


def progress(runs: Iterable[Run], results: Path = Path("results")) -> list[Progress]:
    """Return the state of every run, in their order, from the files below ``results``."""
    return [_look(run, Path(results)) for run in runs]


def estimate(found: Sequence[Progress]) -> float | None:
    """Return the seconds of jobs that are left: what runs like each open one took; None before any has finished.

    Like: the mean over finished runs of the same labels in another seed; else of the same paper, task and model; else
    of the same paper; else of all. What an unfinished run has spent already is taken off.
    """
    finished = [each for each in found if each.state in ("done", "dead") and each.seconds > 0]
    if not finished:
        return None
    groups: dict[tuple[str, ...], list[float]] = {}
    for each in finished:
        for key in _likes(each.run):
            groups.setdefault(key, []).append(each.seconds)
    left = (each for each in found if each.state not in ("done", "dead"))
    typical = ((each, fmean(next(groups[key] for key in _likes(each.run) if key in groups))) for each in left)
    return sum(max(0.0, seconds - each.seconds) for each, seconds in typical)


def _likes(run: Run) -> list[tuple[str, ...]]:
    """Return what a run has in common with ever more others: all labels but the seed, ..., nothing."""
    return [tuple(getattr(run, name) for name in LABELS[:depth]) for depth in (len(LABELS), 3, 1, 0)]


def _look(run: Run, results: Path) -> Progress:
    seconds = sum(_seconds(results / "benchmarks" / run.path))
    metrics = results / "runs" / run.path / "metrics.json"
    if metrics.is_file():
        status, training = _said(metrics)
        return Progress(run, "dead" if status == "dead" else "done", seconds or training)
    kept = results / "checkpoints" / run.path
    if owners := holders(kept):
        return Progress(run, "running", seconds, str(owners[0]))
    if reason := failure(results / "logs" / run.path):
        return Progress(run, "failed", seconds, reason)
    begun = kept.is_dir() or any((results / "runs" / run.path).glob("*"))
    return Progress(run, "begun" if begun else "missing", seconds)


def failure(logs: Path) -> str:
    """Return why the last job of a run failed, by its log; empty if it did not."""
    files = sorted(logs.glob("*.log"), key=lambda file: file.stat().st_mtime_ns)
    if not files:
        return ""
    with open(files[-1], "rb") as stream:
        stream.seek(max(0, files[-1].stat().st_size - TAIL))
        lines = stream.read().decode(errors="replace").splitlines()
    places = [number for number, line in enumerate(lines) if line.startswith(FAILED)]
    return " ".join(line for line in lines[places[-1] + 1 :] if not line.startswith("Full log:")) if places else ""


def _said(metrics: Path) -> tuple[str, float]:
    """Return a run's status and the seconds of its training, which are all that is known of one that shared its job."""
    try:
        record = read_json(metrics)
        return str(record["status"]), float((record.get("timing") or {}).get("wall_s") or 0)
    except (ArtefactError, KeyError, TypeError, ValueError, AttributeError):
        return "", 0.0


def _seconds(directory: Path) -> Iterator[float]:
    """Yield what each finished job of a run took, by Snakemake's benchmark files."""
    for file in directory.glob("*.tsv"):
        with open(file, encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                try:
                    yield float(row["s"])
                except (KeyError, TypeError, ValueError):
                    continue


def as_json(found: Sequence[Progress]) -> str:
    """Write states as JSON lines, one object per run."""
    rows = ({"path": each.run.path, "state": each.state, "seconds": each.seconds, "note": each.note} for each in found)
    return "\n".join(map(json.dumps, rows))
