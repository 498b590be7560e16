"""The direction of a published value against its dense network, and whether smaller runs of ours agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from prunelib.report.claims.check import EQUAL_WITHIN, MIN_SEEDS
from prunelib.report.claims.judge import settings_of
from prunelib.report.claims.paired import flip_p, is_above, limits, paired, t_p
from prunelib.report.scorecard.realised import realised
from prunelib.report.tables import LABELS
from prunelib.report.words import metric, number

DENSE = "dense"
METRICS = ("psnr_peak", "psnr_final", "top1", "top3", "top5")
PREFIXES = {"isomorphic-": ("isomorphic",)}  # settings of one script each; quick grids have the one method


class Directions:
    """Differences against dense, published and ours, looked up once for all values of a paper."""

    def __init__(self, values: pd.DataFrame, runs: pd.DataFrame, tolerance: Mapping[str, float]) -> None:
        """``values``: published values of a paper; ``runs``: its runs at scales other than "paper"."""
        self._tolerance = tolerance
        usable = values[(values.method == DENSE) & (values.doubt == "") & (values.state == "")]
        keys = zip(usable.dataset, usable.image, usable.model, usable.sigma.fillna(0), usable.metric, strict=True)
        self._dense: dict[tuple[Any, ...], float] = {}
        for key, value in zip(keys, usable.converted, strict=True):
            self._dense.setdefault(key, value)  # logs stand before the figures that show them
        self._runs = runs[runs.status == "ok"] if len(runs) else runs
        self._kept = realised(self._runs) if len(runs) else pd.Series(dtype=float)
        self._found: dict[tuple[Any, ...], pd.DataFrame] = {}

    def of(self, row: Any, labels: Sequence[str]) -> dict[str, Any] | None:
        """Return what our smaller runs say of a published value; None where nothing can be said.

        Keys ``agrees`` (the paired test finds the published direction), ours, sd, seeds, p ... and a note. Ours are the
        values themselves; the test is about their difference to the dense networks of the same task, model and seed.
        Densities must agree within EQUAL_WITHIN.
        """
        their = self._dense.get((row.dataset, row.image, row.model, row.sigma if row.sigma > 0 else 0.0, row.metric))
        if their is None or row.method == DENSE or row.metric not in METRICS or row.metric not in self._runs:
            return None
        published = row.converted - their
        if not abs(published) > self._tolerance[row.metric]:
            return None
        pairs = self._near((*labels, *_stand_ins(row.method)), row.metric, row.density)
        return None if pairs.seed.nunique() < MIN_SEEDS else _said(row.metric, published, pairs)

    def _near(self, labels: tuple[str, ...], name: str, density: float) -> pd.DataFrame:
        """Return the pairs whose network keeps about ``density``; tables repeat few densities often."""
        key = (labels, name, density)
        if key not in self._found:
            pairs = self._pairs(labels, name)
            near = (pairs.kept - density).abs() <= EQUAL_WITHIN * density
            self._found[key] = pairs if len(pairs) == 0 else pairs[near]
        return self._found[key]

    def _pairs(self, labels: tuple[str, ...], name: str) -> pd.DataFrame:
        if (labels, name) not in self._found:
            keys = ["task", "model", "seed"]
            dense = self._runs.loc[self._runs.method == DENSE, [*keys, name]].rename(columns={name: DENSE}).dropna()
            mine = self._runs.loc[self._runs.method.isin(labels), [*LABELS, "seed", "scale", name]]
            pairs = mine.assign(kept=self._kept).dropna(subset=[name]).merge(dense, on=keys)
            self._found[labels, name] = pairs.assign(difference=pairs[name] - pairs[DENSE])
        return self._found[labels, name]


def _stand_ins(method: str) -> tuple[str, ...]:
    return tuple(label for prefix, labels in PREFIXES.items() if method.startswith(prefix) for label in labels)


def _said(name: str, published: float, pairs: pd.DataFrame) -> dict[str, Any]:
    seeds = list(pairs.groupby("seed")["difference"].mean())
    signed = [math.copysign(1.0, published) * value for value in seeds]
    test, how = paired(seeds), metric(name)
    sizes = [number(how.factor * value, how.decimals, signed=True) for value in (published, test.mean)]
    values = pairs.groupby("seed")[name].mean()
    found = {"agrees": is_above(signed), "seeds": len(seeds), "ours": float(values.mean()), "sd": float(values.std())}
    found |= {"our_method": ", ".join(sorted(set(pairs.method))), "our_density": float(pairs.kept.mean())}
    found |= {"scale": ", ".join(sorted(set(pairs.scale))), "runs": "; ".join(settings_of(pairs))}
    found |= {"p": t_p(signed), "p_flip": flip_p(signed), "d_z": test.dz, "low": test.low, "high": test.high}
    note = f"against dense: published {sizes[0]}, ours {sizes[1]} {how.difference_unit}".strip()
    return found | {"limits": limits(test), "note": note}
