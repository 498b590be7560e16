"""The dictionary of columns: what every column of all_runs.csv means, as the page docs/columns.md says it."""

from __future__ import annotations

from prunelib.report.tables import IDENTITY
from prunelib.report.words import METRICS

LABELLED = {
    "paper": "part of the grid: a paper's key, or crossover",
    "task": "label of the task in the configuration: data set and what the network must do",
    "model": "label of the model in the configuration",
    "method": "label of the method in the configuration; variants follow the method's name",
    "budget": "what was asked for: full, density0.05, degree3, macs0.5 ...",
    "seed": "the run's seed",
    "status": "how the run ended",
    "scale": "scale of the configuration: quick, paper, or a name of its own",
    "why": "why there is no result, where there is none",
}
HEAD = """# Columns of `results/tables/all_runs.csv`

One row per run, one column per label or metric; a metric that none of the runs has is no column. Numbers have six
decimals (scientific below 0.001), an empty cell is a missing value. `results/tables/<paper>.csv` have the same columns;
in `summary.csv` a metric is a row with its mean and standard deviation over seeds. Shares lie between 0 and 1: the page
shows them in per cent, and large counts in millions.

| column | kind | unit | meaning |
| --- | --- | --- | --- |
"""


def dictionary() -> str:
    """Return the text of docs/columns.md: every column that a table of runs can have, in the tables' order."""
    lines = [f"| `{name}` | label | | {LABELLED[name]} |" for name in IDENTITY]
    for metric in METRICS.values():
        kind = "share" if metric.unit == "%" else "number"
        unit = _unit(metric.name) or ("" if metric.unit == "%" else _stored(metric.unit, metric.factor))
        lines.append(
            f"| `{metric.name}` | {kind} | {unit} | {metric.meaning.replace('million multiply', 'multiply')} |"
        )
    return HEAD + "\n".join(lines) + "\n"


def _stored(unit: str, factor: float) -> str:
    """Return the unit of the stored number; the page may show another."""
    return "bytes" if unit == "MiB" and factor < 1 else unit


def _unit(name: str) -> str:
    return "MACs" if name.startswith("macs") else ""


if __name__ == "__main__":
    print(dictionary(), end="")
