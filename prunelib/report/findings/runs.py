"""A table of our own runs as the evidence of a finding: means over seeds of a few metrics, one row per setting."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from prunelib.report.page.tables import Cell, Column, Table
from prunelib.report.words import budget_name, method_name, method_order, metric, shown

SETTING = ["task", "model", "method", "budget"]


def stands_together(runs: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Keep runs of ``methods`` at those tasks, models and budgets where at least two of them ran."""
    mine = runs[runs.method.isin(list(methods))]
    several = mine.groupby(["task", "model", "budget"])["method"].transform("nunique") > 1
    return mine[several]


def runs_table(caption: str, runs: pd.DataFrame, metrics: Sequence[str]) -> Table:
    """Return mean ± sd over seeds of ``metrics`` per setting, with how many seeds ended and how many were dead."""
    metrics = [name for name in metrics if name in runs and runs[name].notna().any()]
    columns = [Column("Method"), Column("Where"), Column("Budget", "what was asked for")]
    columns += [Column("Seeds", "finished runs", True), Column("Dead", "networks that carry no signal", True)]
    columns += [Column(metric(name).heading, metric(name).meaning, True) for name in metrics]
    rows = []
    groups = runs[runs.status.isin(["ok", "dead"])].groupby(SETTING, sort=False)
    for (task, model, method, budget), group in sorted(groups, key=lambda item: _order(item[0])):
        alive = group[group.status == "ok"]
        dead = len(group) - len(alive)
        labels = [Cell(method_name(method, model)), Cell(f"ours, {task}, {model}"), Cell(budget_name(budget), budget)]
        counts = [Cell(str(len(alive)), len(alive)), Cell(str(dead), dead)]
        means = [(name, alive[name].mean(), alive[name].std()) for name in metrics]
        rows.append([*labels, *counts, *(Cell(shown(*each), "" if pd.isna(each[1]) else each[1]) for each in means)])
    return Table(caption, columns, rows)


def _order(setting: tuple[str, str, str, str]) -> tuple[str, str, str, tuple[int, str]]:
    task, model, method, budget = setting
    return (task, model, budget, method_order(method))
