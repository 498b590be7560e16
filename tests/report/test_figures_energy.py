from pathlib import Path

import pytest

from prunelib.report.figures.energy import ising_energy
from prunelib.report.tables import read_table
from tests.report.trees import table_of

RECORDED = Path(__file__).parents[2] / "results" / "reference" / "benchmarks" / "ising_energy.csv"
RUNS = table_of(
    *({"paper": "ising", "method": "ising", "seed": seed, "units": 0.4 + 0.1 * seed, "top1": 0.9} for seed in (0, 1)),
    {"paper": "ising", "method": "dense", "seed": 0, "units": None, "top1": 0.9},
)


def test_the_minimum_of_the_recorded_energy_is_at_one_half():
    measured = read_table(RECORDED)
    drawing = ising_energy(RUNS, measured)
    states = drawing.data[drawing.data.source == "random states"]
    assert states.share[states.energy.idxmin()] == 0.5
    assert (states.energy - states.expected).abs().max() < 0.025  # on the parabola within a tenth of its depth
    assert any("least at 50" in text.get_text() for text in drawing.figure.axes[0].texts)


def test_where_searches_ended_is_marked_and_written():
    data = ising_energy(RUNS, read_table(RECORDED)).data
    ended = data[data.source.str.startswith("ours")]
    assert list(ended.source) == ["ours, Ising energy, full"] and list(ended.share) == pytest.approx([0.45])


def test_without_the_benchmark_or_runs_there_is_no_figure():
    assert ising_energy(RUNS, None) is None
    assert ising_energy(RUNS[RUNS.paper == "oes"], read_table(RECORDED)) is None
    alone = ising_energy(RUNS.drop(columns="units"), read_table(RECORDED))
    assert set(alone.data.source) == {"random states"}
