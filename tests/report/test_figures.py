import numpy as np
import pytest

from prunelib.errors import ArtefactError
from prunelib.report.figures import captions
from prunelib.report.figures.draw import FIGURES, Results, draw_figures
from prunelib.report.figures.pictures import detailed_crop
from prunelib.report.figures.plots import MAX_PANELS, panels, style
from prunelib.report.figures.published import oes_published, read_reference
from prunelib.report.histories import frame_of, read_histories
from prunelib.report.layers import read_layers
from prunelib.report.structures import read_structures
from prunelib.report.tables import read_table
from prunelib.runs import Run
from tests.report.trees import collected, drawn, write_oes, write_run


def histories_of(paths):
    return [path.with_name("history.h5") for path in paths]


def test_the_set_of_files_is_the_one_the_workflow_expects(page):
    assert sorted(path.name for path in (page / "figures").iterdir()) == sorted(captions.FILES)
    assert tuple(FIGURES) == captions.NAMES


def test_drawing_again_gives_the_same_bytes(page, tree, tmp_path):
    root, paths = tree
    masks = [path.with_name("mask.h5") for path in paths]
    structures = reversed([path.with_name("pruned.json") for path in paths])
    draw_figures(root / "tables", reversed(histories_of(paths)), tmp_path, reversed(masks), structures=structures)
    for name in captions.FILES:
        assert (tmp_path / name).read_bytes() == (root / "figures" / name).read_bytes(), name


def test_no_figure_carries_a_date_or_a_path(page):
    for path in (page / "figures").glob("*.svg"):
        text = path.read_text()
        assert "<dc:date>" not in text and str(page) not in text
        assert "http-equiv" not in text and "<script" not in text


def test_the_numbers_behind_a_figure_are_those_of_the_tables(page):
    runs = read_table(page / "tables" / "oes.csv")
    behind = read_table(page / "figures" / "oes_final.csv")
    assert behind.psnr_final.tolist() == pytest.approx(runs.psnr_final.tolist(), nan_ok=True)
    curves = read_table(page / "figures" / "oes_curves.csv")
    last = curves[(curves.method == "gumbel") & (curves.step == 1000)].groupby("task")["psnr"].mean()
    expected = runs[runs.method == "gumbel"].groupby("task")["psnr_final"].mean()
    assert last.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_without_runs_every_figure_is_a_card_and_its_numbers_are_empty(tmp_path):
    collected(tmp_path, [])
    drawn(tmp_path, [])
    for name in captions.NAMES:
        assert (tmp_path / "figures" / f"{name}.csv").read_text().strip() == ""
        assert (tmp_path / "figures" / f"{name}.svg").stat().st_size > 500


def test_one_seed_and_a_run_without_history_are_drawn(tmp_path):
    paths = write_oes(tmp_path, range(1))
    paths[0].with_name("history.h5").unlink()
    collected(tmp_path, paths)
    drawn(tmp_path, paths)
    curves = read_table(tmp_path / "figures" / "oes_curves.csv")
    assert set(curves.seed) == {0} and len(curves) > 100


def test_stub_results_are_drawn(tmp_path):
    """Three rows and 8 x 8 pictures are what ``mode: stub`` leaves."""
    runs = [
        Run("oes", "denoise-a", "hourglass", "dense", "full", 0),
        Run("oes", "denoise-a", "hourglass", "gumbel", "density0.1", 0),
        Run("ising", "classify-a", "net", "ising", "density0.5", 0),
    ]
    pictures = {name: np.zeros((8, 8, 3), np.uint8) for name in ("clean", "noisy", "final", "best")}
    history = {"step": np.arange(3.0), "loss": np.ones(3), "psnr": np.ones(3)}
    metrics = {"psnr_peak": 25.0, "psnr_final": 24.0, "psnr_gap": 1.0, "psnr_noisy": 20.0}
    paths = [write_run(tmp_path, run, metrics, history=history, images=pictures) for run in runs[:2]]
    ising = {"epoch": np.arange(3.0), "loss": np.ones(3), "top1_val": np.ones(3)}
    paths.append(write_run(tmp_path, runs[2], {"top1": 0.5, "density_all": 0.5}, history=ising))
    collected(tmp_path, paths)
    drawn(tmp_path, paths)
    assert (tmp_path / "figures" / "oes_pictures.csv").read_text().count("\n") == 5
    assert (tmp_path / "figures" / "ising_search.csv").read_text().strip() == ""


def test_the_crop_is_where_the_picture_has_most_contrast():
    pixels = np.full((30, 30, 3), 100, np.uint8)
    pixels[16:26, 4:14] = np.random.default_rng(0).integers(0, 255, (10, 10, 3))
    (row, column), side = detailed_crop(pixels)
    assert side == 10 and abs(row - 16) <= 2 and abs(column - 4) <= 2


def test_too_many_panels_are_cut_and_it_is_said():
    with style():
        figure, axes = panels([str(number) for number in range(40)], 3, 1.0)
    assert len(axes) == MAX_PANELS
    assert "first 12 of 40" in figure.get_supxlabel()


def test_histories_are_read_by_their_path(tree):
    _, paths = tree
    found = read_histories(histories_of(paths))
    assert [history.run for history in found] == sorted(history.run for history in found)
    one = next(history for history in found if history.run.method == "margin")
    assert set(one.columns) == {"epoch", "loss", "top1_val", "energy_best", "energy_mean", "kept"}
    frame = frame_of([one], "epoch", ["kept", "unknown"])
    assert list(frame) == ["paper", "task", "model", "method", "budget", "seed", "epoch", "kept", "unknown"]
    assert frame.unknown.isna().all() and set(frame.kept) == {0.48}
    assert frame_of([one], "step", ["psnr"]).empty


def test_kept_entries_per_tensor_are_read_from_masks(tree):
    _, paths = tree
    found = read_layers(path.with_name("mask.h5") for path in paths)
    mine = found[(found.method == "gumbel") & (found.task == "denoise-coffee") & (found.seed == 1)]
    assert mine.tensor.tolist() == [
        "encoder.level0.conv1.weight",
        "encoder.level0.bn1.weight",
        "decoder.level0.conv.weight",
    ]
    assert mine.kept.tolist() == [20, 40, 80] and set(mine.numel) == {400}


def test_layers_lay_ours_beside_the_published_masks(page):
    behind = read_table(page / "figures" / "oes_layers.csv")
    theirs = behind[(behind.source == "published") & (behind.method == "gumbel") & (behind.task == "pepper")]
    assert len(theirs) == 19  # convolutions of the published generator
    assert theirs.share.iloc[0] == pytest.approx(100 * 868 / 12800)
    ours = behind[(behind.source == "ours") & (behind.method == "gumbel") & (behind.task == "denoise-coffee")]
    assert set(ours.share) == {5.0, 20.0} and "bn1" not in " ".join(ours.tensor)


def test_recorded_searches_lie_on_the_published_curves(tmp_path, tree):
    root, _ = tree
    header = "paper,task,model,method,budget,seed,step,loss,mean_logit\n"
    rows = "".join(
        f"oes,denoise-lena-s0.1,hourglass,gumbel,density0.05,{s},{t},0.07,-0.001\n" for s in (0, 1) for t in (0, 50)
    )
    (tmp_path / "search.csv").write_text(header + rows)
    (tmp_path / "times.csv").write_text("paper,task,seed,s\noes,denoise-lena-s0.1,0,3\n")
    reference = read_reference(tmp_path.glob("*.csv"))
    assert set(reference.image) == {"lena"} and len(reference) == 4
    drawing = oes_published(read_table(root / "tables" / "all_runs.csv"), reference)
    assert set(drawing.data.source) == {"published", "ours"} and len(drawing.data) == 1280 + 4
    assert oes_published(read_table(root / "tables" / "expanders.csv"), reference) is None


def test_curves_are_split_into_main_lines_and_other_masks(tree):
    root, paths = tree
    drawing = FIGURES["oes_curves"](
        Results(
            read_table(root / "tables" / "all_runs.csv"),
            read_histories(histories_of(paths)),
            read_layers([]),
            read_reference([]),
            read_structures([]),
        )
    )
    main, others = (
        {line.get_label() for line in axes.lines if not line.get_label().startswith("_")}
        for axes in drawing.figure.axes[:2]
    )
    assert "noisy input" in main & others
    labels = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert {"Dense", "Deep decoder", "SGLD", "OES", "IMP", "SynFlow", "SynFlow, authors' code"} <= set(labels)
    assert {"SynFlow", "Magnitude", "Magnitude, repaired"} <= others and not {"SynFlow", "Magnitude"} & main


def test_a_damaged_history_is_named(tmp_path):
    path = write_run(tmp_path, Run("ising", "t", "m", "dense", "full", 0), {}, history={"epoch": [1.0]}).with_name(
        "history.h5"
    )
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"history\.h5: .*delete it and run again"):
        read_histories([path])
