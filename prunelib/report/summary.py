"""Means and standard deviations over seeds, one row per setting and metric."""

from __future__ import annotations

import pandas as pd

from prunelib.report.tables import LABELS, LOST, metrics_of

SUMMARY_COLUMNS = (*LABELS, "metric", "n", "mean", "sd", "minimum", "maximum")


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Return mean, sample standard deviation (n - 1; NaN for one seed), minimum and maximum over the finished seeds.

    ``runs`` is a table of all runs; the result is long: one row per (paper, task, model, method, budget, metric) with
    at least one value, settings in the order of ``runs``, metrics in its column order. Missing values are left out.
    """
    metrics = metrics_of(runs)
    long = runs[runs.status == "ok"].melt([*LABELS, "seed"], metrics, "metric", "value").dropna(subset="value")
    if long.empty:
        return pd.DataFrame(columns=SUMMARY_COLUMNS)
    settings = dict.fromkeys(runs[list(LABELS)].itertuples(index=False, name=None))
    place = {setting: index for index, setting in enumerate(settings)}
    grouped = long.groupby([*LABELS, "metric"], sort=False)["value"]
    table = grouped.agg(n="count", mean="mean", sd="std", minimum="min", maximum="max").reset_index()
    table["place"] = [place[tuple(row)] for row in table[list(LABELS)].itertuples(index=False)]
    table["column"] = table.metric.map({name: index for index, name in enumerate(metrics)})
    return table.sort_values(["place", "column"])[list(SUMMARY_COLUMNS)].reset_index(drop=True)


def settings_of(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per setting, in the order of ``runs``, with how many seeds have which status."""
    counts = runs.groupby([*LABELS, "status"], sort=False).size().unstack("status", fill_value=0)
    counts = counts.reindex(columns=["ok", *LOST], fill_value=0)
    order = runs[list(LABELS)].drop_duplicates().itertuples(index=False, name=None)
    return counts.reindex(list(order)).reset_index()
