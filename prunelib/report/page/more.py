"""Tables of the page beside the results: the scorecard, and what slimming a network saves."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from prunelib.report import published
from prunelib.report.page.tables import Cell, Column, Table, path_of, plain, rows_uri
from prunelib.report.scorecard.verdicts import DIFFERS, DIRECTION, IMPOSSIBLE, REPRODUCED, UNDECIDED, VERDICTS
from prunelib.report.tables import LABELS, read_table
from prunelib.report.words import budget_name, method_name, metric, shown

STATES = {REPRODUCED: "yes", DIRECTION: "yes", DIFFERS: "no", IMPOSSIBLE: "no", UNDECIDED: "unclear"}
PHOTOS = ("pepper", "lena", "barbara", "baboon")
# Published values that the page shows without ours beside them, and every mean; the CSV has all.
SHOWN = {
    "oes": tuple(f"denoise-{photo}-s0.1" for photo in PHOTOS),
    "expanders": ("",),  # all of them
    "isomorphic": ("classify-imagenet", "classify-imagenet-bilinear", ""),  # all of them
    "ising": ("classify-cifar10",),
}


def scorecard_table(paper: str, source: Path) -> Table | None:
    """Return published values and claims beside ours, for a paper that has published values here; else None."""
    if paper not in published.PAPERS:
        return None
    rows = read_table(source)
    rows = rows[rows.paper == paper]
    rows = rows.assign(
        **{name: rows[name].where(rows[name].notna(), "") for name in ("scale", "runs")}
    )  # text, maybe none
    first = rows.task.isin(SHOWN.get(paper, ()))
    seen = rows[(rows.kind == "claim") | first | rows.id.str.contains("-mean-") | rows.ours.notna()]
    counts = rows.verdict.value_counts()
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts)
    columns = [
        Column("Claim or task"),
        Column("Method"),
        Column("Kept (%)", "really kept, of all parameters", True),
        Column("Metric"),
        Column("Published", "PSNR in data range 1; of a claim: the difference that speaks for it", True),
        Column("Ours", "mean over seeds", True),
        Column("Sd", "standard deviation over seeds", True),
        Column("Seeds", "", True),
        Column("Scale", "of our runs; sizes are compared at scale paper only"),
        Column("Difference", "ours minus published", True),
        Column("p", "of the paired test behind a direction or a claim", True),
        Column("Verdict", "; ".join(f"{verdict}: {meaning}" for verdict, meaning in VERDICTS.items())),
        Column("Source", "where the published side stands"),
        Column("Runs", "directories below results/runs that ours comes from"),
    ]
    title = f"Published values and claims beside ours, those that runs could speak to; of all {len(rows)}: {said}"
    return Table(title, columns, [_score_row(row) for row in seen.itertuples()], source.name, rows_uri(source, paper))


def slim_table(runs: pd.DataFrame, runtimes: pd.DataFrame) -> Table | None:
    """Return MACs and step times before and after slimming, means over seeds, for the runs that were slimmed."""
    if "macs_slim" not in runs or runs.macs_slim.isna().all():
        return None
    times = runtimes.set_index("path")
    rows = runs[runs.macs_slim.notna()].copy()
    for name in ("dense_step_ms", "slim_step_ms"):
        found = times[f"slim.{name}"].to_dict() if f"slim.{name}" in times else {}
        rows[name] = [found.get(path_of(row), math.nan) for row in rows.itertuples()]
    cells = [_slim_row(labels, group) for labels, group in rows.groupby(list(LABELS), sort=False)]
    columns = [
        Column("Task"),
        Column("Method"),
        Column("Budget"),
        Column("Seeds", "", True),
        Column(f"{metric('macs').heading}, before", metric("macs").meaning, True),
        Column("after", metric("macs_slim").meaning, True),
        Column("ratio", "", True),
        Column("Step before (ms)", "one training step of the dense network; measured, varies with the machine", True),
        Column("after", "the same of the slimmed network", True),
        Column("ratio", "", True),
    ]
    return Table("Before and after slimming: multiply-accumulates and time of a step", columns, cells)


def _slim_row(labels: tuple[str, ...], rows: pd.DataFrame) -> list[Cell]:
    means = rows[["macs", "macs_slim", "dense_step_ms", "slim_step_ms"]].mean()
    factor = metric("macs").factor
    _, task, model, method, budget = labels
    return [
        Cell(task),
        Cell(method_name(method, model)),
        Cell(budget_name(budget), budget),
        Cell(str(len(rows)), len(rows)),
        plain(factor * means.macs, 2),
        plain(factor * means.macs_slim, 2),
        plain(means.macs / means.macs_slim if means.macs_slim else math.nan, 2),
        plain(means.dense_step_ms, 2),
        plain(means.slim_step_ms, 2),
        plain(means.dense_step_ms / means.slim_step_ms if means.slim_step_ms else math.nan, 2),
    ]


def _score_row(row: tuple) -> list[Cell]:
    what = row.text or row.task or row.source
    name = method_name(row.method, row.model) if row.method else ""
    name += f" ({row.model})" if row.model not in ("", "hourglass") else ""
    numbers = [_number(row.metric, value) for value in (row.published, row.ours, row.sd)]
    verdict = Cell(row.verdict + (f" ({row.note})" if row.note else ""), row.verdict, STATES.get(row.verdict, ""))
    kept, seeds = plain(100 * row.density, 2), plain(row.seeds, 0)
    label = metric(row.metric).heading
    return [
        Cell(what),
        Cell(name),
        kept,
        Cell(label),
        *numbers[:3],
        seeds,
        Cell(row.scale),
        _number(row.metric, row.difference),
        plain(row.p, 3),
        verdict,
        Cell(row.source),
        Cell(row.runs),
    ]


def _number(name: str, value: float) -> Cell:
    return Cell(shown(name, value), "" if math.isnan(value) else value)
