"""The crossover's tables of the page: what to use, every method's quality and cost, and what does not apply."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from prunelib.report.crossover import COSTS, NOT_APPLICABLE, advice, crossover
from prunelib.report.page.tables import Cell, Column, Table, plain
from prunelib.report.tables import LOST
from prunelib.report.words import DASH, budget_name, method_name, metric, number

SAID = {
    "best": ("Best", "highest mean over seeds"),
    "quickest": ("As good, quickest to find", "among methods that can't be told from the best: see the rule below"),
    "smallest": ("As good, smallest", "the same, by the share of parameters that is left after compaction"),
}


def crossover_tables(runs: pd.DataFrame, runtimes: pd.DataFrame) -> list[Table]:
    """Return what to use, then every method per task; nothing where the crossover has no finished run at a density."""
    table = crossover(runs, runtimes)
    picks = advice(table)
    if not picks:
        return []
    return [_advice(picks), *(_methods(task, rows) for task, rows in table.groupby("task", sort=False))]


def absent_table() -> Table:
    """Return the methods that the crossover leaves out, on which tasks and why."""
    rows = [[Cell(row.method), Cell(row.tasks), Cell(row.why)] for row in NOT_APPLICABLE]
    return Table("Not applicable", [Column("Method"), Column("Tasks"), Column("Why")], rows)


def _advice(picks: list[dict[str, Any]]) -> Table:
    columns = [Column("Task"), Column("Budget"), *(Column(label, meaning) for label, meaning in SAID.values())]
    columns.append(
        Column("As good", "methods whose quality can't be told from the best one's, itself among them", True)
    )
    rows = []
    for row in picks:
        cells = [Cell(f"{row['task']}, {row['model']}"), Cell(budget_name(row["budget"]), row["budget"])]
        cells += [Cell(_pick(row, answer), row[f"{answer}_quality"]) for answer in SAID]
        rows.append([*cells, Cell(f"{row['as_good']} of {row['methods']}", row["as_good"])])
    return Table("What should I use?", columns, rows)


def _pick(row: dict[str, Any], answer: str) -> str:
    how = metric(row["metric"])
    cost = {
        "best": "",
        "quickest": f", found in {number(row['quickest_seconds'], 1)} s",
        "smallest": f", {number(row['smallest_compact_percent'], 1)} % of parameters",
    }[answer]
    quality = f"{number(row[f'{answer}_quality'], how.decimals)} {how.unit}".strip()
    return f"{method_name(row[answer])}: {quality}{cost}"


def _methods(task: str, rows: pd.DataFrame) -> Table:
    how = metric(rows.metric.iloc[0])
    columns = [
        Column("Method"),
        Column("Budget"),
        Column("Seeds", "runs with a result; others in brackets", True),
        Column(how.heading, f"{how.meaning}; mean ± standard deviation over seeds", True),
        Column("Against dense", "difference to the dense network of the same seed", True),
        *(Column(f"{label[0].upper()}{label[1:]}", _meaning(name), True) for name, label in COSTS.items()),
        Column("Density (%)", "kept share of the weights that the mask covers", True),
    ]
    groups = rows.groupby(["model", "method", "budget"], sort=False)
    means = {keys: float(group.quality.mean()) for keys, group in groups}
    ordered = sorted(groups, key=lambda item: -means[item[0]] if pd.notna(means[item[0]]) else math.inf)
    return Table(f"Every method: {task}", columns, [_row(keys, group, how.decimals) for keys, group in ordered])


def _row(keys: tuple[str, ...], rows: pd.DataFrame, decimals: int) -> list[Cell]:
    model, method, budget = keys
    lost = [f"{count} {state}" for state in LOST if (count := int((rows.status == state).sum()))]
    done = int((rows.status == "ok").sum())
    state = next((word for word in LOST if (rows.status == word).any()), "")
    seeds = Cell(f"{done} ({', '.join(lost)})" if lost else str(done), done, state)
    costs = [plain(rows[name].mean(), 1) for name in (*COSTS, "density_percent")]
    return [
        Cell(method_name(method, model)),
        Cell(budget_name(budget), budget),
        seeds,
        _spread(rows.quality, decimals),
        _spread(rows.against_dense, decimals) if method != "dense" else Cell(DASH),
        *costs,
    ]


def _spread(values: pd.Series, decimals: int) -> Cell:
    mean, sd = float(values.mean()), float(values.std()) if values.notna().sum() > 1 else math.nan
    if math.isnan(mean):
        return Cell(DASH)
    text = number(mean, decimals)
    return Cell(text if math.isnan(sd) else f"{text} ± {number(sd, decimals)}", mean)


def _meaning(name: str) -> str:
    return {
        "seconds": "wall time of the search and of all that had to be trained before it; varies with the machine",
        "compact_percent": "parameters after dead channels are cut out, of the dense network's",
        "macs_percent": "multiply-accumulates of that network, of the dense one's",
        "latency_percent": "time of a forward pass of one input on the CPU, by turns; varies with the machine",
    }[name]
