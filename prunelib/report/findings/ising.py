"""Findings about energy-based pruning: what a published table can't mean, beside our own runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from prunelib.report import published
from prunelib.report.findings.runs import runs_table
from prunelib.report.page.tables import Cell, Column, Finding, Table, plain
from prunelib.report.words import budget_name, method_name, metric, number, shown

ROWS = {"original": "Original", "dc": "Deep Compression", "full": "F", "pruned": "P"}
NETWORKS = ("resnet18", "resnet34", "resnet50", "resnet101", "alexnet", "squeezenet")
DATA = {
    "kuzushiji": "Kuzushiji",
    "fashion": "Fashion",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "flowers102": "Flowers",
}


COST = ("ising_step", "ising_step_resnet18")  # recorded benchmarks of a training step with its search


def ising_findings(runs: pd.DataFrame, benchmarks: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Return the findings; ``runs`` are those of this part of the grid, ``benchmarks`` recorded tables by name."""
    found = [_half_by_construction(runs), _full_is_pruned(runs), _impossible_cells(), *_counts(runs)]
    return [*found, *_cost([benchmarks[name] for name in COST if name in benchmarks])]


def _half_by_construction(runs: pd.DataFrame) -> Finding:
    values = published.values("ising")
    values = values[values.metric == "top1"]
    rows = []
    for method, table in (("ising", "IPruning"), ("margin", "EDropout")):
        for network in NETWORKS:
            found = values[(values.method == method) & (values.model == network)]
            if len(found):
                share = Cell(f"{number(100 * found.density.min(), 1)} to {number(100 * found.density.max(), 1)}")
                labels = [method_name(method), f"published, {table}", network, "full"]
                rows.append([*map(Cell, labels), share, Cell("")])
    mine = runs[runs.method.isin(["ising", "margin", "ising-upstream", "margin-upstream"]) & (runs.status == "ok")]
    for (task, model, method, budget), group in mine.groupby(["task", "model", "method", "budget"], sort=True):
        shares = [group[name] if name in group else pd.Series(dtype=float) for name in ("density_upstream", "units")]
        upstream, units = (shown("density", share.mean(), share.std()) for share in shares)
        labels = [Cell(method_name(method)), Cell(f"ours, {task}"), Cell(model), Cell(budget_name(budget), budget)]
        rows.append([*labels, Cell(upstream, shares[0].mean()), Cell(units, shares[1].mean())])
    columns = [
        Column("Energy"),
        Column("From"),
        Column("Network"),
        Column("Budget", "full: the energy alone decides how much is kept"),
        Column("R (%)", "kept parameters by the authors' count; published: over the data sets", True),
        Column("Units on (%)", "", True),
    ]
    return Finding(
        "Half of the units is what the published Ising energy asks for by construction",
        "Its pair term grows with the square of the units that are on and its linear term takes as much away: for "
        "units that have little to do with each other it is proportional to p² − p at a share p of units, least at one "
        "half. The figure of energies against the share of units shows random states of one network on that curve, "
        "within a tenth, with their minimum there. An R near 50 % is no result of a search; here a density can be "
        "asked for.",
        Table("Kept shares where nothing asks for one", columns, rows),
    )


def _full_is_pruned(runs: pd.DataFrame) -> Finding:
    values = published.values("ising")
    values = values.assign(row=values.id.str.split("-").str[-2], table=values.id.str.split("-").str[1])
    values = values[
        values.metric.isin(["top1", "top1_full"]) & (values.doubt == "") & values.row.isin(["full", "pruned"])
    ]
    sides = values.pivot_table("value", ["table", "dataset", "model"], "row").dropna().reset_index()
    rows = [
        [Cell(f"published, {table}"), *_sides(group.full, group.pruned), Cell(str(len(group)), len(group))]
        for table, group in sides.groupby("table", sort=True)
    ]
    mine = runs[runs.status == "ok"].dropna(subset=["top1_full", "top1"]) if "top1_full" in runs else runs[:0]
    for (task, method, budget), group in mine.groupby(["task", "method", "budget"], sort=True):
        name = f"ours, {task}, {method_name(method)}, {budget_name(budget)}"
        rows.append([Cell(name), *_sides(group.top1_full, group.top1), Cell(str(len(group)), len(group))])
    columns = [
        Column("From"),
        Column("F (%)", "top-1 with every gate open, mean", True),
        Column("P (%)", "top-1 of the pruned network, mean", True),
        Column("Distance (points)", "mean of |F − P|", True),
        Column("Networks", "networks, or runs", True),
    ]
    return Finding(
        "The published rows F and P were measured on the same pruned weights",
        "The authors' evaluation writes the gates into the weights and never takes them back, after every epoch and in "
        "the final test: the “full” network F and the random states are measured on weights that are pruned already. "
        "Here F opens all gates on weights that nothing has touched.",
        Table("Top-1 with every gate open and of the pruned network", columns, rows),
    )


def _sides(full: pd.Series, pruned: pd.Series) -> list[Cell]:
    distance = (full - pruned).abs().mean()
    return [plain(100 * full.mean(), 1), plain(100 * pruned.mean(), 1), plain(100 * distance, 2)]


def _impossible_cells() -> Finding:
    values = published.values("ising")
    rows = values[(values.doubt != "") & ~values.metric.isin(["density_upstream", "parameters_kept"])]
    cells = [
        [Cell(DATA[row.dataset]), Cell(row.model), Cell(ROWS[row.id.split("-")[-2]]), Cell(row.doubt), Cell(said)]
        for row, said in ((row, _said(group)) for _, group in _by_row(rows) for row in [group.iloc[0]])
    ]
    columns = [Column("Data"), Column("Network"), Column("Row"), Column("What is wrong"), Column("Published")]
    return Finding(
        "Some published cells can't be right",
        "They stand in the scorecard as doubtful and are not compared.",
        Table("Cells of the IPruning table that are impossible, copied or contradict each other", columns, cells),
    )


def _by_row(rows: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    return list(rows.groupby([rows.id.str.rsplit("-", n=1).str[0], rows.doubt], sort=False))


def _said(group: pd.DataFrame) -> str:
    names = group.metric.str.removesuffix("_full")
    cells = [f"{metric(name).heading} {shown(name, value)}" for name, value in zip(names, group.value, strict=True)]
    return f"{', '.join(cells)}, R (%) {number(100 * group.density.iloc[0], 2)}"


def _counts(runs: pd.DataFrame) -> Iterator[Finding]:
    """The authors' count against what is left after slimming."""
    if not {"density_upstream", "density_compact"} <= {*runs}:
        return
    mine = runs[runs.density_upstream.notna() & (runs.density_upstream < 1)]
    if len(mine):
        yield Finding(
            "R counts inputs that nothing feeds any more",
            "The published R takes kept filters over all filters of a layer. A removed filter also frees its slice of "
            "the next layer's weights, so the slimmed network is smaller than R says. It computes the same.",
            runs_table(
                "Kept shares by the authors' count and after slimming",
                mine,
                ("units", "density_upstream", "density_compact", "macs_compact"),
            ),
        )


def _cost(measured: Sequence[pd.DataFrame]) -> Iterator[Finding]:
    rows = [
        [Cell(row.network), Cell(row.step), *(plain(value, 2) for value in (row.authors, row.ratio, row.bound))]
        for table in measured
        for row in table[table.authors.notna()].itertuples()
    ]
    if rows:
        columns = [Column("Network"), Column("Step"), Column("Published", "ratio in the authors' README: a GPU", True)]
        columns += [Column("Ours", "ratio measured side by side; the machine is named under Benchmarks", True)]
        columns += [Column("By operations", "the least ratio, with every pass at full width", True)]
        yield Finding(
            "A searching step costs a few plain steps, not seventeen or more",
            "The README's ratios follow the number of parameters, not of states: the authors' code fills and copies "
            "full-size weight masks for every candidate. Shutting units at the norms, or computing them not at all, "
            "gives the same states for a fraction of it.",
            Table("Time of a training step with its search over a plain one", columns, rows),
        )
