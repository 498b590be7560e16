"""The crossover: which runs it compares, what a mask cost to find, what to use, and what was left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prunelib import registry
from prunelib.config import read
from prunelib.report.crossover import NOT_APPLICABLE, advice, crossover, seconds_to_find
from prunelib.report.figures.crossover import crossover_methods, fronts, pareto
from prunelib.report.figures.pictures import error_map
from prunelib.report.page.crossover import absent_table, crossover_tables
from prunelib.report.times import time_rows
from prunelib.runs import Grid
from tests.report.trees import table_of

ROOT = Path(__file__).parents[2]
WHERE = {"paper": "crossover", "task": "classify-digits", "model": "vgg-tiny"}


def run(method: str, seed: int, top1: float | None, compact: float = 1.0, budget: str = "density0.1") -> dict:
    sizes = {"density": 0.1, "density_compact": compact, "macs": 1000, "macs_compact": 1000 * compact}
    return WHERE | {"method": method, "budget": budget, "seed": seed, "top1": top1, **sizes}


def times_of(*rows: tuple[str, str, int, float, float | None, str]) -> pd.DataFrame:
    base = f"crossover/{WHERE['task']}/{WHERE['model']}"
    return pd.DataFrame(
        {
            "path": f"{base}/{method}/{budget}/seed{seed}",
            "paper": "crossover",
            "wall_s": wall,
            "mask.wall_s": np.nan if search is None else search,
            "mask.parent": f"{base}/{parent}" if parent else "",
            "cost.cpu_batch1_speedup": 2.0,
        }
        for method, budget, seed, wall, search, parent in rows
    )


@pytest.fixture
def both() -> tuple[pd.DataFrame, pd.DataFrame]:
    tables = []
    for seed, noise in ((0, 0.0), (1, 0.02)):
        tables += [
            run("dense", seed, 0.9 + noise, budget="full"),
            run("imp", seed, 0.91, budget="full"),
            run("imp", seed, 0.80 + noise, 0.9),
            run("synflow", seed, 0.79 + noise, 0.2),
            run("random", seed, 0.50, 0.95),
        ]
    rows = []
    for seed in (0, 1):
        rows += [
            ("dense", "full", seed, 10.0, None, ""),
            ("imp", "full", seed, 12.0, None, ""),
            ("imp", "density0.1", seed, 9.0, 0.5, f"imp/full/seed{seed}/weights.safetensors"),
            ("synflow", "density0.1", seed, 9.0, 2.0, ""),
            ("random", "density0.1", seed, 9.0, 0.1, ""),
        ]
    return table_of(*tables), times_of(*rows)


def test_rounds_that_only_lead_on_are_not_methods(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = crossover(*both)
    assert len(table) == 8 and set(table.budget[table.method == "imp"]) == {"density0.1"}
    first = table[(table.method == "imp") & (table.seed == 0)].iloc[0]
    assert first.quality == pytest.approx(80) and first.against_dense == pytest.approx(-10)
    assert (first.compact_percent, first.macs_percent, first.latency_percent) == (90, 90, 50)


def test_a_mask_costs_what_was_trained_before_it_too(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    times = {row["path"]: row for row in both[1].to_dict("records")}
    base = "crossover/classify-digits/vgg-tiny"
    assert seconds_to_find(f"{base}/imp/density0.1/seed0", times) == 12.5
    assert seconds_to_find(f"{base}/synflow/density0.1/seed1", times) == 2.0
    assert np.isnan(seconds_to_find(f"{base}/dense/full/seed0", times))


def test_what_to_use_is_decided_by_means_and_spread(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    (answer,) = advice(crossover(*both))
    assert answer["best"] == "imp" and answer["quickest"] == answer["smallest"] == "synflow"
    assert answer["as_good"] == 2 and answer["methods"] == 3
    far = both[0].copy()
    far.loc[far.method == "synflow", "top1"] -= 0.1
    (answer,) = advice(crossover(far, both[1]))
    assert answer["quickest"] == answer["smallest"] == "imp" and answer["as_good"] == 1


def test_the_tables_say_it(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    first, second = crossover_tables(*both)
    cells = [cell.text for cell in first.rows[0]]
    assert cells[2] == "IMP: 81.0 %" and cells[3] == "SynFlow: 80.0 %, found in 2.0 s"
    assert cells[4] == "SynFlow: 80.0 %, 20.0 % of parameters" and cells[5] == "2 of 3"
    assert [row[0].text for row in second.rows] == ["Dense", "IMP", "SynFlow", "Random"]
    assert second.rows[1][3].text == "81.0 ± 1.4" and second.rows[1][5].text == "12.5"
    assert crossover_tables(both[0][:0], both[1][:0]) == []


def test_dead_runs_are_drawn_and_counted_as_such(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs = both[0].copy()
    runs.loc[runs.method == "random", ["top1", "status"]] = [np.nan, "dead"]
    tables = crossover_tables(runs, both[1])
    assert tables[1].rows[-1][2].text == "0 (2 dead)" and tables[1].rows[-1][2].state == "dead"
    drawing = crossover_methods(crossover(runs, both[1]))
    words = [text.get_text() for axes in drawing.figure.axes for text in axes.texts]
    assert words == ["dead"] and len(drawing.data) == 8


def test_every_panel_has_its_unit(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    drawing = crossover_methods(crossover(*both))
    labels = [axes.get_xlabel() for axes in drawing.figure.axes if axes.get_visible()]
    assert labels[0] == "Top-1 (%)" and len(labels) == 5 and all("(" in label for label in labels)


def test_the_front_is_what_nothing_beats() -> None:
    size, quality = pd.Series([10.0, 20, 30, 20, 40]), pd.Series([50.0, 70, 65, 60, 80])
    assert list(pareto(size, quality)) == [True, True, False, False, True]
    assert list(pareto(pd.Series([1.0, 1]), pd.Series([2.0, 2]))) == [True, True]


def test_fronts_have_uncertainty_both_ways(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    drawing = fronts(both[0])
    rows = drawing.data.set_index(["method", "budget"])
    assert rows.loc[("synflow", "density0.1"), "front"] and not rows.loc[("random", "density0.1"), "front"]
    assert rows.loc[("imp", "density0.1"), "quality_std"] == pytest.approx(100 * 0.02 / 2**0.5)
    assert fronts(both[0][:0]) is None


def test_error_maps_are_absolute_differences() -> None:
    clean = np.full((2, 2, 3), 100, np.uint8)
    other = clean.copy()
    other[0, 0] = [100, 49, 202]
    found = error_map(other, clean)
    assert found[0, 0] == pytest.approx((51 + 102) / 3 / 255) and found.sum() == pytest.approx(found[0, 0])


def test_every_method_is_crossed_or_left_out_with_a_reason() -> None:
    from prunelib import config

    settings = config.load(read(ROOT / "config" / "paper.yaml"))
    grid = Grid(settings)
    crossed: dict[str, set[str]] = {}
    for planned in grid.of("crossover"):
        kind = settings.named("tasks", planned.task).name
        crossed.setdefault(settings.named("methods", planned.method).name, set()).add(kind)
    both = {name for name, kinds in crossed.items() if kinds == {"denoise", "classify"}}
    assert both | {row.method for row in NOT_APPLICABLE if row.tasks == "all"} >= set(registry.names("method"))
    families = {settings.named("methods", planned.method).options.get("family") for planned in grid.of("crossover")}
    assert set(registry.names("family")) <= families
    assert all(len(row.why) > 20 for row in NOT_APPLICABLE) and len(absent_table().rows) == len(NOT_APPLICABLE)


def test_the_quick_grid_crosses_every_kind_of_mask_with_both_tasks() -> None:
    from prunelib import config

    grid = Grid(config.load(read(ROOT / "config.yaml")))
    kinds = {}
    for planned in grid.of("crossover"):
        kinds.setdefault(planned.task.split("-")[0], set()).add(planned.method)
    assert kinds["denoise"] == kinds["classify"] >= {"dense", "random", "snip", "synflow", "rreg", "gates"}
    assert {planned.seed for planned in grid.of("crossover")} == {0, 1}


def test_times_are_summed_up_per_setting_per_part_and_in_all(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    rows = pd.DataFrame(time_rows(*both)).set_index(["paper", "method", "budget", "name"])
    searched = rows.loc[("crossover", "imp", "density0.1", "crossover.seconds")]
    assert (searched.runs, searched["mean"]) == (2, 12.5)
    whole = rows.loc[("", "", "", "wall_s")]
    assert (whole.runs, whole["sum"]) == (10, 2 * (10 + 12 + 9 + 9 + 9))
    assert rows.loc[("crossover", "", "", "wall_s")]["sum"] == whole["sum"]
    assert time_rows(both[0][:0], both[1][:0]) == []
