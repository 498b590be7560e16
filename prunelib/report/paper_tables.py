"""The result tables in the papers' own layouts, for LaTeX (booktabs) and Markdown: means ± standard deviations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prunelib.report.findings.ising import NETWORKS
from prunelib.report.paper_formats import FORMATS, PaperTable
from prunelib.report.scorecard.verdicts import VERDICTS
from prunelib.report.tables import read_table
from prunelib.report.words import DASH, budget_name, method_name, method_order, metric, number, shown, stem_of
from prunelib.storage.files import write_text

WIDE = 5  # pictures side by side; more go into a table of their own
ROWS_F = ("loss", "top1", "top3", "top5")


def paper_tables(name: str, runs: pd.DataFrame, card: pd.DataFrame) -> list[PaperTable]:
    """Return the tables of one part of the grid, or of "claims", from all runs and the scorecard."""
    if name == "claims":
        return list(_claims(card))
    mine = runs[(runs.paper == name) & (runs.status == "ok")]
    return [table for table in LAYOUTS[name](mine) if table.rows]


def write_paper_tables(tables: Path, names: Sequence[str]) -> None:
    """Write <name>.tex and <name>.md into ``tables``, the directory of all_runs.csv and scorecard.csv.

    ``names`` are parts of the grid and "claims", see ``paper_tables``. A part without results gets a file that says so.
    """
    runs, card = read_table(Path(tables) / "all_runs.csv"), read_table(Path(tables) / "scorecard.csv")
    for name in names:
        found = paper_tables(name, runs, card)
        for suffix, form in FORMATS.items():
            write_text(Path(tables) / f"{name}{suffix}", form(found, name))


def _oes(runs: pd.DataFrame) -> Iterator[PaperTable]:
    """Peak / final PSNR: a row per method and density, a column per picture, as the authors' logs are laid out."""
    tasks = list(dict.fromkeys(runs.task))
    for start in range(0, len(tasks), WIDE):
        some = tasks[start : start + WIDE]
        rows = []
        for (model, method, budget), group in _settings(runs[runs.task.isin(some)], ["model", "method", "budget"]):
            cells = [_peak_and_final(group[group.task == task]) for task in some]
            rows.append((_named(method, model, budget), *cells))
        caption = "Optimal Eye Surgeon: PSNR in dB (data range 1), peak / final, mean ± standard deviation over seeds"
        yield PaperTable(caption, ("Method", *some), tuple(rows))


def _peak_and_final(runs: pd.DataFrame) -> str:
    ends = [_cell(runs, name) for name in ("psnr_peak", "psnr_final")]
    return DASH if ends == [DASH, DASH] else " / ".join(ends)


def _expanders(runs: pd.DataFrame) -> Iterator[PaperTable]:
    """Top-1: a row per network and graph family, a column per degree; the paper's own layout could not be read."""
    for (task,), group in _settings(runs, ["task"]):
        budgets = sorted(
            set(group.budget), key=lambda label: (label != "full", label.rstrip("0123456789."), _size(label))
        )
        rows = [
            (model, method_name(method, model), *(_cell(some[some.budget == budget], "top1") for budget in budgets))
            for (model, method), some in _settings(group, ["model", "method"])
        ]
        names = ["dense" if budget == "full" else budget_name(budget) for budget in budgets]
        yield PaperTable(f"Expanders on {task}: top-1 (%)", ("Network", "Mask", *names), tuple(rows))


def _size(budget: str) -> float:
    return float(budget.lstrip("abcdefghijklmnopqrstuvwxyz") or 0)


def _isomorphic(runs: pd.DataFrame) -> Iterator[PaperTable]:
    """Parameters, MACs, top-1: the networks pruned from one dense network below it, as in table 2 of the paper."""
    for (task,), group in _settings(runs, ["task"]):
        rows = []
        for (model, method, budget), some in _settings(group, ["model", "method", "budget"]):
            name = model if method == "dense" else f"{_named(method, model, budget)}"
            sizes = (_scaled(some, ("parameters_compact", "parameters"), 1e-6, 3), _scaled(some, MACS, 1e-9, 4))
            rows.append((model, name, *sizes, _cell(some, "top1_start"), _cell(some, "top1")))
        columns = ("From", "Network", "Params (M)", "MACs (G)", "Top-1 pruned (%)", "Top-1 (%)")
        yield PaperTable(f"Isomorphic pruning on {task}", columns, tuple(rows))


MACS = ("macs_torch_pruning", "macs_compact", "macs")


def _ising(runs: pd.DataFrame) -> Iterator[PaperTable]:
    """Loss, top-1, 3, 5, R and #p in rows Original, Deep Compression, F and P, as the papers print them."""
    for (task,), group in _settings(runs, ["task"]):
        rows = [row for model in _networks(group) for row in _ising_rows(group[group.model == model], model)]
        columns = ("Network", "Row", "Loss", "Top-1 (%)", "Top-3 (%)", "Top-5 (%)", "R (%)", "#p (M)")
        caption = f"Energies on {task}: rows as printed by IPruning and EDropout; R by the authors' count"
        yield PaperTable(caption, columns, tuple(rows))


def _networks(runs: pd.DataFrame) -> list[str]:
    found = set(runs.model)
    return [name for name in NETWORKS if name in found] + sorted(found - set(NETWORKS))


def _ising_rows(runs: pd.DataFrame, model: str) -> Iterator[tuple[str, ...]]:
    for (method, budget), group in _settings(runs, ["method", "budget"]):
        name = "Original" if method == "dense" else _named(method, model, budget)
        share = next(
            (group[key] for key in ("density_upstream", "density") if key in group and group[key].notna().any()), None
        )
        kept = pd.Series([math.nan]) if share is None else share
        sizes = (_value("density_upstream", kept), _value_of(1e-6 * kept * group.get("parameters", math.nan), 3))
        if "top1_full" in group and group.top1_full.notna().any():
            yield (model, f"{name} (F)", *(_cell(group, f"{key}_full", key) for key in ROWS_F), *sizes)
            name = f"{name} (P)"
        yield (model, name, *(_cell(group, key) for key in ROWS_F), *sizes)


def _crossover(runs: pd.DataFrame) -> Iterator[PaperTable]:
    """Quality of every mask method on every task: a row per method and density, a column per task."""
    tasks = list(dict.fromkeys(runs.task))
    rows = []
    for (method, budget), group in _settings(runs, ["method", "budget"]):
        cells = [_quality(group[group.task == task]) for task in tasks]
        rows.append((_named(method, "", budget), *cells))
    caption = "Mask methods across tasks: final PSNR in dB, or top-1 in %"
    yield PaperTable(caption, ("Method", *tasks), tuple(rows))


def _quality(runs: pd.DataFrame) -> str:
    psnr = _cell(runs, "psnr_final")
    return _cell(runs, "top1") if psnr == DASH else psnr


def _claims(card: pd.DataFrame) -> Iterator[PaperTable]:
    for (paper,), rows in _settings(card[card.kind == "claim"], ["paper"]):
        cells = tuple(
            (row.text, row.source, *_numbers(row), row.scale or DASH, row.verdict) for row in rows.itertuples()
        )
        columns = ("Claim", "Stated in", "Published", "Ours", "90 % interval", "Seeds", "p", "Scale", "Verdict")
        yield PaperTable(f"Claims ({paper}): mean differences that speak for them. {_legend(rows)}", columns, cells)


def _legend(rows: pd.DataFrame) -> str:
    said = [f"{name}: {meaning}" for name, meaning in VERDICTS.items() if name in set(rows.verdict)]
    return ". ".join([f"{text[0].upper()}{text[1:]}" for text in said]) + "."


def _numbers(row: Any) -> tuple[str, ...]:
    sizes = (_signed(row.metric, row.published), _signed(row.metric, row.ours), _interval(row))
    return (*sizes, number(row.seeds, 0), number(row.p, 3))


def _signed(name: str, value: float) -> str:
    how = metric(name)
    return number(how.factor * value, how.decimals, signed=True)


def _interval(row: Any) -> str:
    ends = [_signed(row.metric, value) for value in (row.low, row.high)]
    return DASH if DASH in ends else f"[{ends[0]}, {ends[1]}]"


def _settings(runs: pd.DataFrame, by: list[str]) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """Group runs, in their order, except that methods stand in the order of prunelib.report.words."""
    groups = [(key, rows) for key, rows in runs.groupby(by, sort=False)]
    if "method" not in by:
        return groups
    place = by.index("method")
    before = {key[:place]: index for index, (key, _) in reversed(list(enumerate(groups)))}
    return sorted(groups, key=lambda item: (before[item[0][:place]], method_order(item[0][place])))


def _named(method: str, model: str, budget: str) -> str:
    name = method_name(method, model)
    if budget == "full":
        return f"{name}, before the first cut" if stem_of(method) == "imp" else name
    return f"{name}, {budget_name(budget)}"


def _cell(runs: pd.DataFrame, name: str, like: str = "") -> str:
    return _value(like or name, runs[name]) if name in runs else DASH


def _value(name: str, values: pd.Series) -> str:
    return shown(name, values.mean(), values.std())


def _scaled(runs: pd.DataFrame, names: Sequence[str], factor: float, decimals: int) -> str:
    found = [runs[name] for name in names if name in runs and runs[name].notna().any()]
    return _value_of(factor * found[0], decimals) if found else DASH


def _value_of(values: pd.Series, decimals: int) -> str:
    return number(values.mean(), decimals)


LAYOUTS: Mapping[str, Callable[[pd.DataFrame], Iterator[PaperTable]]] = {
    "oes": _oes,
    "expanders": _expanders,
    "isomorphic": _isomorphic,
    "ising": _ising,
    "crossover": _crossover,
}
