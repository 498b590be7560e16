"""Tables of structural pruning: who wins per seed, by how much, and how fast the smaller networks are."""

import pandas as pd
import pytest

from prunelib.report.modes import COLUMNS, modes
from prunelib.report.page.isomorphic import modes_tables, speed_tables
from prunelib.report.tables import write_table
from tests.report.trees import table_of

RUN = {"paper": "isomorphic", "budget": "macs0.5"}


def test_wins_and_losses_are_counted_seed_by_seed(tmp_path):
    scores = {"isomorphic": (0.90, 0.80, 0.70), "global": (0.90, 0.84, 0.60), "local": (0.50, 0.50, 0.69)}
    rows = [
        {**RUN, "method": method, "seed": seed, "top1": value, "top1_start": 1 - value}
        for method, values in scores.items()
        for seed, value in enumerate(values)
    ]
    rows += [{"paper": "isomorphic", "method": "dense", "seed": 0, "top1": 0.95}]
    rows += [{**RUN, "method": "isomorphic", "seed": 3, "top1": 0.9, "top1_start": 0.9}]  # the only one of its seed
    write_table(tmp_path / "modes.csv", COLUMNS, modes(table_of(*rows)))
    (table,) = modes_tables(tmp_path / "modes.csv")
    assert table.caption == "Which ranking wins: model, 50 % MACs, task"
    text = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert list(text) == ["Isomorphic", "Global", "Local"]
    assert text["Isomorphic"] == ["3", "20.0 ± 10.0", "26.7 ± 15.3", "0 of 3", "80.0 ± 10.0", "1.3 ± 2.3", "2 of 3"]
    assert [text[name][6] for name in ("Global", "Local")] == ["2 of 3", "0 of 3"]
    assert [text[name][3] for name in ("Global", "Local")] == ["1 of 3", "2 of 3"]


def test_one_method_alone_competes_with_nobody():
    assert modes(table_of({**RUN, "method": "isomorphic", "seed": 0, "top1": 0.9})) == []


@pytest.mark.parametrize("column", ["cost.cpu_batch1_ms", "other"])
def test_speeds_are_means_over_seeds_of_what_was_measured(column):
    runs = table_of(*({**RUN, "method": "uniform", "seed": seed} for seed in (0, 1)))
    paths = [f"isomorphic/task/model/uniform/macs0.5/seed{seed}" for seed in (0, 1)]
    times = pd.DataFrame({"path": paths, column: [2.0, 4.0], "cost.cpu_batch1_speedup": 1.5, "cost.threads": 2.0})
    tables = speed_tables(runs, times)
    if column == "other":
        assert tables == []
        return
    (table,) = tables
    assert table.caption == "Time of a forward pass: model, task (CPU with 2 threads)"
    assert [cell.text for cell in table.rows[0]] == ["Uniform", "50 % MACs", "2", "3.00", "–", "1.50"]
    assert [column.label for column in table.columns[3:]] == ["CPU, batch 1 (ms)", "IQR (ms)", "speed-up"]
