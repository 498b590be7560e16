import math

import pandas as pd
import pytest
from scipy import stats

from prunelib.report.claims.all import CLAIMS
from prunelib.report.claims.judge import decide
from prunelib.report.figures.draw import draw_figures
from prunelib.report.spectra import correlations, partial, spearman
from prunelib.report.tables import read_table
from tests.report.trees import table_of


def rows(method, top1, expansion, edges=100, seeds=2, **other):
    """Runs of one method at one budget; sigma2 falls as the expansion rises."""
    shared = {"paper": "expanders", "method": method, "budget": "degree3", "graph_edges": edges} | other
    return [
        shared
        | {"seed": seed, "top1": top1 + 0.001 * seed}
        | {"graph_expansion": expansion + 0.01 * seed, "graph_sigma2_bound": 1 / (expansion + 0.01 * seed)}
        for seed in range(seeds)
    ]


def test_rank_correlations_are_those_of_scipy_and_of_the_residuals_of_ranks():
    x, y = pd.Series([1, 5, 2, 2, 9, 7, 3]), pd.Series([2, 4, 4, 1, 8, 9, 3])
    held = pd.Series([3, 1, 4, 1, 5, 9, 2])
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    left, right = (side.rank() - stats.linregress(held.rank(), side.rank()).slope * held.rank() for side in (x, y))
    assert partial(x, y, held) == pytest.approx(stats.pearsonr(left, right).statistic)
    assert partial(x, y, held * 0) == spearman(x, y)
    assert math.isnan(partial(x, y, x))
    assert math.isnan(spearman(x, y * 0)) and math.isnan(spearman(x[:3], y[:3]))


def test_one_row_per_budget_without_leaky_dead_and_dense_runs():
    made = rows("rreg", 0.9, 3.0) + rows("xnet", 0.8, 2.0) + rows("random-graph", 0.7, 1.0)
    made += rows("rreg-leaky", 0.1, 9.0) + rows("dense", 0.99, None, None, budget="full", seeds=0)
    made += [row | {"top1": None, "status": "dead"} for row in rows("synflow", 0.1, 9.0)]
    made += rows("rreg", 0.9, 3.0, budget="degree8", seeds=3)
    first, second = correlations(table_of(*made)).to_dict("records")
    assert (first["budget"], first["runs"], first["edges_min"], first["edges_max"]) == ("degree3", 6, 100, 100)
    assert first["graph_expansion_rho"] == first["graph_expansion_rho_edges"] == pytest.approx(1)
    assert first["graph_sigma2_bound_rho"] == pytest.approx(-1)
    assert second["runs"] == 3 and math.isnan(second["graph_expansion_rho"])


def test_without_diagnostics_there_is_no_correlation():
    assert correlations(table_of({"paper": "expanders", "method": "rreg", "seed": 0, "top1": 0.9})).empty


def test_the_figure_has_a_row_per_run_with_the_correlations_of_its_panel(page, tree):
    numbers = read_table(page / "figures" / "expanders_spectrum.csv")
    assert len(numbers) == 18 and set(numbers.budget) == {"degree3", "degree8"}
    low = numbers[numbers.budget == "degree3"]
    assert set(low.runs) == {9}
    assert low.graph_expansion_rho.iloc[0] == pytest.approx(spearman(low.graph_expansion, low.top1), abs=1e-6)
    assert low.graph_expansion_rho.iloc[0] > 0.5 > low.graph_sigma2_bound_rho.iloc[0]
    assert "expanders_spectrum" in {path.stem for path in (page / "figures").glob("*.svg")}


def test_without_diagnostics_the_figure_is_a_card(tmp_path):
    tables, times = tmp_path / "tables" / "all_runs.csv", tmp_path / "provenance" / "runtimes.csv"
    headers = {tables: "paper,task,model,method,budget,seed,status,scale,why,top1", times: "path,paper,status"}
    for file, header in headers.items():
        file.parent.mkdir()
        file.write_text(f"{header}\n")
    draw_figures(tables.parent, [], tmp_path)
    assert (tmp_path / "expanders_spectrum.csv").read_text().strip() == ""


def test_graphs_of_as_many_edges_are_paired_by_their_expansion():
    (check,) = (check for check in CLAIMS["expanders"] if check.name == "expansion")
    same = rows("rreg", 0.9, 3.0, 105) + rows("xnet", 0.8, 2.0, 100) + rows("rreg-leaky", 0.1, 9.0, 100)
    result = decide(table_of(*same, *rows("random-graph", 0.95, 1.0, 200)), check)
    assert (result.outcome, result.pairs) == ("yes", 2) and result.mean == pytest.approx(0.1)
    assert (result.left, result.right) == pytest.approx((0.9005, 0.8005))
    reverse = rows("rreg", 0.7, 3.0) + rows("xnet", 0.8, 2.0)
    assert decide(table_of(*reverse), check).outcome == "no"
    assert decide(table_of(*rows("rreg", 0.9, 3.0)), check).outcome == "no data"
