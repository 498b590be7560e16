"""``python -m prunelib status``: how far a grid is, while it runs or after, and what the rest will take.

It only looks at files: no lock, no job, no torch. `snakemake status` prints the same.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from prunelib.config import load, read
from prunelib.report.progress import STATES, Progress, as_json, estimate, progress
from prunelib.runs import Grid, Run
from prunelib.storage.files import write_text

EXAMPLES = """examples:
  python -m prunelib status                        the quick grid, a line per paper
  python -m prunelib status config/paper.yaml --paper oes
  python -m prunelib status --list missing failed  the runs too; each line begins with state and path
  python -m prunelib status --json                 one JSON object per run, for other programs
"""
SHOWN = 10  # failed or running runs that are named unasked


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``python -m prunelib``."""
    command = commands.add_parser(
        "status",
        help="how many runs are done, running, failed or missing, and how long the rest takes",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("file", type=Path, nargs="?", default=Path("config.yaml"), help="configuration of the grid")
    command.add_argument("--results", type=Path, default=Path("results"), help="the result tree (default: results)")
    command.add_argument("--paper", help="only this part of the grid")
    command.add_argument("--list", nargs="+", choices=STATES, metavar="STATE", help=f"name runs: {', '.join(STATES)}")
    command.add_argument("--json", action="store_true", help="one JSON object per run instead of the table")
    command.set_defaults(call=run)


def run(given: argparse.Namespace) -> None:
    """Print the state of a configuration's runs."""
    grid = Grid(load(read(given.file)))
    runs = grid.of(given.paper) if given.paper else grid.runs
    if given.json:
        print(as_json(progress(runs, given.results)))
    else:
        print(text(runs, given.results, given.list))


def show(runs: Sequence[Run], log: Path) -> None:
    """Print the state of runs, and keep it in a log (what `snakemake status` does)."""
    write_text(log, f"{text(runs)}\n")
    print(log.read_text(encoding="utf-8"), end="")


def text(runs: Sequence[Run], results: Path = Path("results"), listed: Sequence[str] | None = None) -> str:
    """Return the table of states per part, the runs that are named, and the time spent and left."""
    found = progress(runs, results)
    parts = list(dict.fromkeys(each.run.paper for each in found))
    rows = [_row(part, [each for each in found if each.run.paper == part]) for part in parts]
    rows = [("", *STATES, "spent", "left"), *rows, *([_row("all", found)] if len(parts) > 1 else [])]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(text.rjust(w) for text, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join([*lines, *_named(found, listed), _pace(found)])


def _row(name: str, found: Sequence[Progress]) -> tuple[str, ...]:
    counts, left = Counter(each.state for each in found), estimate(found)
    spent = span(sum(each.seconds for each in found))
    return (name, *(str(counts[state]) for state in STATES), spent, "?" if left is None else span(left))


def _named(found: Sequence[Progress], listed: Sequence[str] | None) -> list[str]:
    """Name the runs that were asked for, or the first of those that fail or run."""
    lines = []
    for state in listed or ("failed", "running"):
        those = [each for each in found if each.state == state]
        shown = those if listed else those[:SHOWN]
        lines += [f"{state}  {each.run.path}" + (f"\n        {each.note}" if each.note else "") for each in shown]
        lines += [f"{state}  ... {len(those) - SHOWN} more: --list {state}"] if len(those) > len(shown) else []
    return ["", *lines] if lines else []


def _pace(found: Sequence[Progress]) -> str:
    left, running = estimate(found), sum(each.state == "running" for each in found)
    if left is None:
        return "\nNo run has finished yet, so nothing says how long the rest takes."
    at_once = max(1, running)
    return f"\nleft: {span(left)} of jobs, by what runs like them took; {span(left / at_once)} with {at_once} at a time"


def span(seconds: float) -> str:
    """Write a time in its two largest units: 2 d 3 h, 5 min 12 s, 9 s."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    whole = round(seconds)
    for (name, size), (below, smaller) in pairwise(units):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // smaller} {below}"
    return f"{whole} s"
