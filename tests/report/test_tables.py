import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.errors import ArtefactError
from prunelib.report.tables import as_table, cell, read_table, write_table

COLUMNS = ("paper", "seed", "why", "top1", "kept")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (math.nan, ""),
        (math.inf, ""),
        (0.9512345678, "0.951235"),
        (26.0, "26"),
        (1_072_000, "1072000"),
        (12_630_000_000.0, "12630000000"),
        (1.5e-9, "1.500000e-09"),
        (3e-17, "0"),
        (-0.25, "-0.250000"),
        ("full", "full"),
        (True, "True"),
    ],
)
def test_a_cell_is_written_the_same_way_always(value, text):
    assert cell(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9))
@settings(deadline=None, max_examples=200)
def test_a_number_survives_writing_to_a_millionth(value):
    assert float(cell(value)) == pytest.approx(value, rel=1e-5, abs=1e-6)


def test_a_table_reads_back_as_it_was_written(tmp_path):
    rows = [{"paper": "oes", "seed": 0, "why": "", "top1": 0.5}, {"paper": "nan", "seed": 10, "why": "a, b", "kept": 7}]
    write_table(tmp_path / "t.csv", COLUMNS, rows)
    assert (tmp_path / "t.csv").read_text() == 'paper,seed,why,top1,kept\noes,0,,0.500000,\nnan,10,"a, b",,7\n'
    back = read_table(tmp_path / "t.csv")
    assert list(back.paper) == ["oes", "nan"]
    assert list(back.seed) == [0, 10]
    assert back.top1[0] == 0.5 and math.isnan(back.top1[1]) and back.kept[1] == 7
    assert back.equals(as_table(COLUMNS, rows))


def test_a_column_with_words_stays_text(tmp_path):
    write_table(tmp_path / "t.csv", ("provenance.gpu", "wall_s"), [{"provenance.gpu": "H200"}, {"wall_s": 2}])
    back = read_table(tmp_path / "t.csv")
    assert list(back["provenance.gpu"]) == ["H200", ""]
    assert back.wall_s.dtype == float


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(ArtefactError, match=r"nowhere\.csv: missing"):
        read_table(tmp_path / "nowhere.csv")
