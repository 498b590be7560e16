"""Widths and scores of structural pruning: read from records, drawn per ranking and per set."""

import pytest

from prunelib.errors import ArtefactError
from prunelib.report.figures.isomorphic import isomorphic_scores, isomorphic_widths
from prunelib.report.figures.plots import style
from prunelib.report.structures import read_structures
from prunelib.runs import Run
from tests.report.trees import write_isomorphic, write_structure

RUN = Run("isomorphic", "task", "net", "isomorphic", "macs0.5", 0)


@pytest.fixture
def structures(tmp_path):
    write_isomorphic(tmp_path, range(2))
    return read_structures((tmp_path / "runs").rglob("pruned.json"))


def test_records_become_rows(tmp_path):
    write_structure(tmp_path, RUN)
    rows = read_structures([tmp_path / "runs" / RUN.path / "pruned.json", tmp_path / "absent.json"])
    assert rows.after.tolist() == [20, 12, 60, 8, 16] and rows.before.tolist() == [32, 32, 64, 16, 32]
    assert rows.set.tolist() == [0, 0, 1, 1, 2]
    last = rows.iloc[4]
    assert (last.heads_before, last.heads_after, last.score_50, last.score_100) == (4, 2, 5.0, 10.0)


@pytest.mark.parametrize("text", ['{"pruning": {"groups": [{"name": "a"}]}}', '{"pruning": 3}', "{}"])
def test_other_records_are_named_and_stand_ins_add_nothing(tmp_path, text):
    path = tmp_path / RUN.path / "pruned.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"stub": true}')
    assert read_structures([path]).empty
    path.write_text(text)
    with pytest.raises(ArtefactError, match=r"pruned\.json: not a record of structural pruning"):
        read_structures([path])


def test_widths_are_shares_of_the_dense_ones(structures):
    with style():
        drawing = isomorphic_widths(structures)
    rows = drawing.data
    assert len(rows) == 2 * 2 * 3 * 5
    assert set(rows[(rows.method == "local") & (rows.set < 2)].kept_percent) == {50.0}
    assert len(drawing.figure.axes) == 4  # two models, widths above shares
    labels = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert labels == ["dense", "Isomorphic", "Global", "Local"]


def test_scores_are_drawn_once_per_model_with_their_sets(structures):
    with style():
        drawing = isomorphic_scores(structures)
    assert set(drawing.data.method) == {"isomorphic"} and set(drawing.data.seed) == {0}
    assert [axes.get_title(loc="left") for axes in drawing.figure.axes] == [
        f"{model}, classify-digits: 3 sets of 5 groups" for model in ("resnet-tiny", "vit-tiny")
    ]
    assert [tick.get_text() for tick in drawing.figure.axes[0].get_xticklabels()] == ["set 0", "set 1", "set 2"]


def test_without_records_there_is_nothing_to_draw():
    empty = read_structures([])
    assert isomorphic_widths(empty) is None and isomorphic_scores(empty) is None
