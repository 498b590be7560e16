import math

import pytest

from prunelib.report.summary import settings_of, summarise
from tests.report.trees import table_of


def test_mean_and_sample_deviation_over_finished_seeds():
    runs = table_of(
        *(
            {"paper": "ising", "method": "ising", "seed": seed, "top1": top1}
            for seed, top1 in enumerate((0.9, 0.8, 0.7))
        ),
        {"paper": "ising", "method": "ising", "seed": 3, "status": "dead"},
        {"paper": "ising", "method": "dense", "seed": 0, "top1": 0.95},
    )
    table = summarise(runs).set_index("method")
    ising, dense = table.loc["ising"], table.loc["dense"]
    assert (ising.n, ising["mean"], ising.sd) == (3, pytest.approx(0.8), pytest.approx(0.1))
    assert (ising.minimum, ising.maximum) == (0.7, 0.9)
    assert dense.n == 1 and math.isnan(dense.sd)


def test_a_metric_that_one_seed_lacks_is_averaged_over_the_others():
    rows = [
        {"paper": "oes", "method": "dense", "seed": seed, "psnr_final": value}
        for seed, value in enumerate((20, None, 24))
    ]
    assert next(iter(summarise(table_of(*rows)).itertuples(index=False)))[6:8] == (2, 22.0)


def test_settings_count_what_finished_died_and_is_missing():
    states = ["ok", "dead", "dead", "missing"]
    rows = [{"paper": "oes", "method": "snip", "seed": seed, "status": state} for seed, state in enumerate(states)]
    row = settings_of(table_of(*rows, {"paper": "oes", "method": "dense", "seed": 0})).set_index("method")
    assert row.loc["snip", ["ok", "dead", "missing"]].tolist() == [1, 2, 1]
    assert row.loc["dense", ["ok", "dead", "missing"]].tolist() == [1, 0, 0]


def test_the_order_of_settings_and_metrics_is_kept(tree):
    from prunelib.report.tables import read_table

    root, _ = tree
    runs = read_table(root / "tables" / "all_runs.csv")
    summary = read_table(root / "tables" / "summary.csv")
    mine = summary[(summary.paper == "oes") & (summary.method == "gumbel") & (summary.task == "denoise-coffee")]
    assert list(mine.metric)[:3] == ["psnr_peak", "psnr_final", "psnr_gap"]
    values = runs.psnr_final[(runs.method == "gumbel") & (runs.task == "denoise-coffee")]
    assert float(mine["mean"][mine.metric == "psnr_final"].iloc[0]) == pytest.approx(values.mean(), abs=1e-6)
