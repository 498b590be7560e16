"""What the papers' own numbers say about the differences that the claims are about."""

from __future__ import annotations

from functools import cache

import pandas as pd

from prunelib.report import published
from prunelib.report.claims.all import CLAIMS

# What a claim's check compares, in terms of the published means over Set14: two (model, method, asked density).
OES, IMP = ("hourglass", "gumbel", 0.05), ("hourglass", "imp", None)
DENSE, DECODER = ("hourglass", "dense", 1.0), ("decoder-k5", "dense", 1.0)
OES_SIDES = {
    "smaller-gap": (OES, DENSE),
    "above-dense": (OES, DENSE),
    "above-imp": (OES, IMP),
    "above-decoder": (OES, DECODER),
}
TABLES = {"ising": "ipruning", "margin": "edropout"}  # by energy, as the ids of their rows have it
ROWS = {"drop": ("original", "top1"), "drop-top5": ("original", "top5"), "magnitude": ("dc", "top1")}


@cache
def published_effects() -> dict[str, float]:
    """Return the published difference that speaks for a claim, by "<paper>-<check>", where numbers give one.

    In the metric's own unit: of OES the difference of the means over Set14; of the energies the mean over all networks
    and data sets of row P minus its original ("drop") or Deep Compression ("magnitude"), doubtful cells left out.
    """
    means = published.image_means()
    asked = means.density_asked.astype(object).where(means.density_asked.notna(), None)
    sides = dict(zip(zip(means.model, means.method, asked, strict=True), means.index, strict=True))
    checks = {check.name: check for check in CLAIMS["oes"]}
    effects = {}
    for name, (left, right) in OES_SIDES.items():
        ends = means[checks[name].metric]
        effects[f"oes-{name}"] = float(checks[name].sign * (ends[sides[left]] - ends[sides[right]]))
    values = published.values("ising")
    cells = dict(zip(values.id[values.doubt == ""], values.value[values.doubt == ""], strict=True))
    for energy, table in TABLES.items():
        for name, (row, metric) in ROWS.items():
            effects[f"ising-{energy}-{name}"] = _mean_difference(cells, table, row, metric)
    return effects


def _mean_difference(cells: dict[str, float], table: str, row: str, metric: str) -> float:
    """Return the mean of row P minus another row over all networks; both tables share the originals of IPruning."""
    found = []
    for name, value in cells.items():
        if name.startswith(f"ising-{table}-") and name.endswith(f"-pruned-{metric}"):
            other = name.replace("-pruned-", f"-{row}-")
            if row == "original":
                other = other.replace(f"ising-{table}-", "ising-ipruning-")
            if other in cells:
                found.append(value - cells[other])
    return float(pd.Series(found).mean())
