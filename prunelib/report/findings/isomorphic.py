"""Findings about isomorphic pruning: times that do not follow MACs, counters, scores, contradictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from prunelib.report import published
from prunelib.report.findings.runs import runs_table, stands_together
from prunelib.report.page.tables import Cell, Column, Finding, Table, plain

LATENCY = "isomorphic_latency"
# Published values that say the same thing with different numbers, by their ids.
CONFLICTS = (
    ("ConvNeXt-T, top-1", "isomorphic-convnext-4.2g-top1", "isomorphic-convnext-4.2g-top1-abstract"),
    ("DeiT 2.6G, MACs", "isomorphic-deit-base-2.6g-macs", "isomorphic-deit-base-2.6g-macs-readme"),
    ("DeiT 4.2G, MACs", "isomorphic-deit-base-4.2g-macs", "isomorphic-deit-base-log-macs-pruned"),
    ("DeiT 4.2G, parameters", "isomorphic-deit-base-4.2g-parameters", "isomorphic-deit-base-log-parameters-pruned"),
)


def isomorphic_findings(runs: pd.DataFrame, benchmarks: Mapping[str, pd.DataFrame]) -> Iterator[Finding]:
    """Yield the findings that these runs (of this part) and recorded benchmarks have evidence for."""
    if LATENCY in benchmarks:
        yield _latency(benchmarks[LATENCY])
    sums = stands_together(runs, ("global", "global-sum"))
    if len(sums):
        yield Finding(
            "What makes scores comparable is their normalisation, too",
            "The text sums the scores of a group; the authors' code takes their mean and divides by the mean of the "
            "group before groups compete. Global ranking of plain sums and of such relative scores are two methods.",
            runs_table("Global ranking of sums and of relative scores", sums, ("top1_start", "top1", "macs_compact")),
        )
    counted = runs[(runs.status == "ok") & (runs.budget != "full")]
    if "macs_torch_pruning" in counted and counted.macs_torch_pruning.notna().any():
        yield Finding(
            "Two counters of MACs disagree",
            "The papers' counter (torch-pruning) includes norms and biases and assumes a width of attention that "
            "pruning changes; ours counts convolutions, linear layers and attention as they are. Differences of a few "
            "per cent in published MACs are within the counter.",
            runs_table("The same networks by two counters", counted, ("macs_compact", "macs_torch_pruning")),
        )
    yield _conflicts()


def _latency(table: pd.DataFrame) -> Finding:
    rows = table[table["mode"] != "dense"]
    columns = [
        Column("Network"),
        Column("Ranking"),
        Column("Rounded to", "channels are a multiple of", True),
        Column("Batch", "", True),
        Column("MACs (G)", "", True),
        Column("Time (ms)", "median of a forward pass", True),
        Column("Faster by", "time of the dense network over its own, measured side by side", True),
    ]
    dense = table[table["mode"] == "dense"].set_index(["model", "batch"])["gmacs"]
    saved = [dense[row.model, row.batch] / row.gmacs for row in rows.itertuples()]
    columns.append(Column("MACs less by", "MACs of the dense network over its own", True))
    decimals = {"round_to": 0, "batch": 0, "gmacs": 2, "ms": 1, "speed_up": 2}
    cells = [
        [Cell(row.model), Cell(row.mode), *(plain(getattr(row, name), places) for name, places in decimals.items())]
        for row in rows.itertuples()
    ]
    cells = [[*row, plain(less, 2)] for row, less in zip(cells, saved, strict=True)]
    return Finding(
        "Half of the MACs is not half of the time",
        "The published times name no hardware and no batch. Measured here on a processor, networks with half of the "
        "MACs are not twice as fast, and ragged widths are slower than widths rounded to 8 or 16 in some cases only.",
        Table("Time against MACs, recorded benchmark", columns, cells),
    )


def _conflicts() -> Finding:
    values = published.values("isomorphic").set_index("id")
    rows = []
    for what, one, other in CONFLICTS:
        pair = values.loc[[one, other]]
        factor, decimals = (100, 2) if pair.metric.iloc[0] == "top1" else (1e-9, 3) if "macs" in one else (1e-6, 2)
        cells = [cell for row in pair.itertuples() for cell in (plain(factor * row.value, decimals), Cell(row.source))]
        rows.append([Cell(what), *cells])
    for row in values[values.state == "impossible"].itertuples():
        label = Cell(f"{row.model}, top-1 difference")
        rows.append([label, plain(100 * row.value, 2), Cell(row.source), Cell(""), Cell(row.doubt)])
    columns = [Column("What"), Column("One value", "%, G or M", True), Column("From"), Column("Another", "", True)]
    return Finding(
        "Some published numbers do not agree with each other",
        "They differ in the last digit, so no conclusion hangs on them; a reproduction can't meet both. The abstract "
        "also says that DeiT-T was pruned from DeiT-Base, where the script takes DeiT-Small.",
        Table("Published values that contradict each other", [*columns, Column("From, or what is wrong")], rows),
    )
