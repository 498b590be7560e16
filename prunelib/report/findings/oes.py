"""More findings about OES: names that are no densities, final values that jump, what pruning norms does."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from prunelib.report import published
from prunelib.report.findings.runs import runs_table, stands_together
from prunelib.report.page.tables import Cell, Column, Finding, Table, plain
from prunelib.report.words import budget_name, method_name

# (what the authors call it, id of a value of it, what was asked for)
NAMED = (
    ("OES, notebook, “3 %”", "oes-comb0-gumbel-final", 0.03),
    ("IMP, 14 × 20 %, “5 %”", "oes-comb0-imp-final", 0.05),
    ("OES “50 %”", "oes-set14-pepper-oes-0.5-final", 0.5),
    ("OES “80 %”", "oes-set14-pepper-oes-0.8-final", 0.8),
)
COUNTED = ["source", "method", "asked", "dead"]
NORMS = (("gumbel", "gumbel-weights"), ("synflow-all", "synflow"))


def more_oes_findings(runs: pd.DataFrame) -> Iterator[Finding]:
    """Yield the findings that published values and these runs (of this part) have evidence for."""
    yield _names()
    yield from _jumps(runs)
    yield from _norms(runs)
    yield from _dead_baselines(runs)


def _names() -> Finding:
    values = published.values().set_index("id")
    rows = [
        [Cell(name), plain(100 * asked, 2), plain(100 * values.density[key], 2), plain(values.kept[key], 0)]
        for name, key, asked in NAMED
        if key in values.index
    ]
    columns = [Column("Published as"), Column("Named (%)", "", True), Column("Kept (%)", "of all parameters", True)]
    return Finding(
        "Densities are named loosely",
        "IMP's 14 rounds hold 13 cuts of 20 %, so the mask called 5 % keeps 5.49 %; masks made by rounding keep what "
        "the search left above one half. Values are compared here by what a network really keeps.",
        Table("Density in the name and in the network", [*columns, Column("Kept parameters", "", True)], rows),
    )


def _jumps(runs: pd.DataFrame) -> Iterator[Finding]:
    if not {"psnr_final", "psnr_last10"} <= {*runs}:
        return
    mine = runs[(runs.status == "ok") & runs.psnr_last10.notna()]
    if mine.empty:
        return
    away = (mine.psnr_final - mine.psnr_last10).abs()
    rows = []
    for (task, model, method), group in away.groupby([mine.task, mine.model, mine.method], sort=True):
        labels = [Cell(method_name(method, model)), Cell(f"ours, {task}")]
        rows.append([*labels, plain(group.mean(), 2), plain(group.max(), 2), Cell(str(len(group)), len(group))])
    columns = [Column("Method"), Column("From"), Column("Mean (dB)", "", True), Column("Largest (dB)", "", True)]
    yield Finding(
        "A single final PSNR can be a spike",
        "Adam's steps jump now and then late in training: a published notebook ends 0.55 dB above its value of a "
        "thousand steps before. The distance of the last value to the median of the last ten says how far one value "
        "may be trusted.",
        Table("Last value against the median of the last ten", [*columns, Column("Runs", "", True)], rows),
    )


def _norms(runs: pd.DataFrame) -> Iterator[Finding]:
    mine = pd.concat([stands_together(runs, pair) for pair in NORMS])
    if len(mine):
        yield Finding(
            "Pruning norms and biases too is a part of what OES does",
            "OES masks all parameters; a pruned norm weight, whose bias is pruned as well, shuts its whole channel. "
            "The baselines usually mask weights only. The same method with and without says how much of the result "
            "belongs to the learned mask.",
            runs_table(
                "All parameters against weights only",
                mine,
                ("psnr_peak", "psnr_final", "psnr_gap", "density_all", "density_compact"),
            ),
        )


def _dead_baselines(runs: pd.DataFrame) -> Iterator[Finding]:
    values = published.values()
    logs = values[(values.evidence == "log") & (values.metric == "psnr_final") & (values.image != "mean")]
    logs = logs[(logs.method != "gumbel") & logs.density_asked.notna()]
    mine = runs[(runs.budget != "full") & (runs.method != "gumbel") & runs.status.isin(["ok", "dead"])]
    asked = 100 * logs.density_asked
    theirs = logs.assign(source="published", asked=asked.map("{:g} %".format), dead=logs.state == "dead")
    ours = mine.assign(source="ours", asked=mine.budget.map(budget_name), dead=mine.status == "dead")
    both = pd.concat([theirs[COUNTED], ours[COUNTED]]).groupby(COUNTED[:-1], sort=False)["dead"].agg(["sum", "count"])
    rows = [
        [Cell(method_name(method)), Cell(source), Cell(budget), Cell(f"{dead} of {count}", int(dead))]
        for (source, method, budget), dead, count in both.itertuples(name=None)
        if dead
    ]
    if rows:
        yield Finding(
            "Global scores shut whole layers",
            "Magnitudes of different layers have different scales, and scores of norms that feed another norm are "
            "zero: ranked together they empty single layers, and the network draws a constant. Such a baseline loses "
            "to anything. “Repaired” masks give every layer its best weights back.",
            Table(
                "Dead networks among the baselines",
                [Column("Method"), Column("From"), Column("Asked for"), Column("Dead", "", True)],
                rows,
            ),
        )
