import numpy as np
import pandas as pd
import pytest

from prunelib.errors import ArtefactError
from prunelib.report import published


def one(table, **labels):
    """The one row with these labels."""
    for name, value in labels.items():
        table = table[table[name] == value]
    assert len(table) == 1, labels
    return table.iloc[0]


@pytest.fixture(scope="module")
def values():
    return published.values()


PEPPER = {"dataset": "set14", "image": "pepper", "evidence": "log", "sigma": 0.1}


@pytest.mark.parametrize(
    ("image", "model", "method", "asked", "peak", "final"),
    [
        ("pepper", "hourglass", "gumbel", 0.05, 28.93, 27.05),
        ("lena", "hourglass", "gumbel", 0.05, 29.32, 27.32),
        ("baboon", "hourglass", "gumbel", 0.05, 24.09, 24.01),
        ("pepper", "hourglass", "dense", 1.0, 28.75, 21.85),
        ("man", "hourglass", "dense", 1.0, 26.76, 21.98),
        ("pepper", "decoder-k5", "dense", 1.0, 27.39, 26.64),
        ("pepper", "hourglass", "sgld", 1.0, 29.01, 23.22),
        ("lena", "hourglass", "sgld", 1.0, 29.51, 23.24),
    ],
)
def test_values_are_the_published_ones_in_data_range_one(values, image, model, method, asked, peak, final):
    here = {**PEPPER, "image": image, "model": model, "method": method, "density_asked": asked}
    assert one(values, **here, metric="psnr_peak").converted == pytest.approx(peak, abs=0.0051)
    assert one(values, **here, metric="psnr_final").converted == pytest.approx(final, abs=0.0051)


def test_the_offset_is_added_exactly_once(values):
    row = one(values, **PEPPER, model="hourglass", method="dense", metric="psnr_peak")
    assert (row.convention, row.value, row.offset_to_add) == ("max(clean)", 28.115, 0.631)
    assert row.converted == pytest.approx(28.746, abs=1e-9)
    assert (row.converted - row.value) == pytest.approx(row.offset_to_add)
    again = published.values().merge(values, on="id")
    assert again.converted_x.equals(again.converted_y)  # reading twice adds nothing


def test_what_has_no_known_convention_is_not_converted(values):
    lost = values[values.convention.isin(["mixed", "unknown"])]
    assert len(lost) == 73 and lost.converted.isna().all() and (lost.doubt != "").all()
    plain = values[values.convention.isin(["data range 1", ""])]
    assert plain.converted.equals(plain.value) and (plain.offset_to_add == 0).all()
    old = values[values.convention == "max(clean)"]
    assert (old.offset_to_add > 0).all() and np.allclose(old.converted - old.value, old.offset_to_add)


@pytest.mark.parametrize(
    ("model", "method", "asked", "peak", "final"),
    [
        ("hourglass", "gumbel", 0.05, 27.48, 25.86),
        ("hourglass", "dense", 1.0, 27.38, 21.79),
        ("decoder-k5", "dense", 1.0, 26.82, 25.92),
        ("decoder-k4", "dense", 1.0, 26.76, 25.67),
        ("hourglass", "sgld", 1.0, 27.59, 23.14),
        ("hourglass", "synflow-local-upstream", 0.05, 27.79, 22.66),
        ("hourglass", "grasp-local-upstream", 0.2, 27.69, 24.11),
        ("hourglass", "magnitude-upstream", 0.2, 27.60, 23.03),
    ],
)
def test_means_over_set14(model, method, asked, peak, final):
    row = one(published.image_means(), model=model, method=method, density_asked=asked)
    assert row.images == 14
    assert (row.psnr_peak, row.psnr_final) == (pytest.approx(peak, abs=0.006), pytest.approx(final, abs=0.006))
    assert row.psnr_gap == pytest.approx(row.psnr_peak - row.psnr_final)


def test_imp_ends_at_the_published_counts(values):
    row = one(values, **PEPPER, method="imp", metric="psnr_final")
    assert row.kept == 165_297 and row.density == pytest.approx(0.05494, abs=1e-5)
    assert one(values, **PEPPER, method="imp-80", metric="psnr_final").kept == 120_270


def test_the_published_synflow_and_grasp_keep_nineteen_of_twenty():
    curves = published.curves("pepper").drop_duplicates("series").set_index("series")
    synflow, grasp = curves.loc["pepper_pai_synflow_local_0.95"], curves.loc["pepper_pai_grasp_local_0.95"]
    assert (synflow.kept, grasp.kept) == (2_856_234, 2_856_219)
    assert synflow.density == pytest.approx(2_856_234 / 3_008_867, abs=1e-6) and synflow.density_asked == 0.05
    assert synflow.offset_to_add == pytest.approx(0.637)


def test_curves_are_converted_once_and_end_where_the_values_end(values):
    curves = published.curves()
    assert set(curves.image) == {"pepper", "lena", "barbara", "baboon"}
    assert np.allclose(curves.converted - curves.psnr_logged, curves.offset_to_add)
    last = curves[(curves.series == "pepper_dense_lr1e-3") & (curves.step == 39800)].iloc[0]
    assert last.converted == pytest.approx(21.85, abs=0.006)
    assert curves[curves.series == "pepper_oes_5pct_published_mask"].converted.max() == pytest.approx(28.93, abs=0.05)


def test_exact_masks_collapse_at_low_density():
    found = published.collapse().set_index("density_asked")
    assert found.dead.to_dict() == {0.03: 9, 0.0333: 7, 0.035: 5, 0.04: 2, 0.05: 0}
    assert set(found.images) == {14}


def test_the_counts_said_in_the_card_agree_with_the_logs(values):
    said = values[values.metric == "dead_of_14"].set_index("density_asked")["value"]
    assert said.to_dict() == published.collapse().set_index("density_asked")["dead"].to_dict()


def test_mask_learning_at_five_percent():
    table = published.mask_learning(0.05).set_index(["image", "step"])
    assert len(table) == 4 * 80
    assert table.loc[("pepper", 0), "loss"] == pytest.approx(0.0778, abs=5e-5)
    assert table.loc[("pepper", 79000), "mean_logit"] == pytest.approx(-2.84, abs=0.005)
    assert table.loc[("lena", 20000), "loss"] == pytest.approx(0.0272, abs=5e-4)


def test_mask_layers_add_up():
    table = published.mask_layers()
    assert len(table) == 86 and table.numel.sum() == published.HOURGLASS
    totals = table[list(published.MASKS)].sum().to_dict()
    assert totals == dict.fromkeys(published.MASKS[:4], 150_443) | {
        "pepper_3.52pct": 105_949,
        "imp_pepper_5.49pct": 165_297,
    }
    shares = table.groupby("part")["pepper_5pct"].sum() / table.groupby("part").numel.sum()
    assert shares.to_dict() == {"encoder": pytest.approx(0.0300, abs=5e-5), "decoder": pytest.approx(0.1410, abs=5e-5)}


def test_the_tensors_are_those_of_the_hourglass():
    hourglass = pytest.importorskip("prunelib.models.hourglass")
    names = [name for name, _ in hourglass.hourglass().named_parameters()]
    assert list(published.mask_layers().tensor) == names


def test_other_picture_sizes_are_doubtful(values):
    barbara = values[(values.image == "barbara") & (values.method == "imp")]
    assert set(barbara["size"]) == {"576x576"} and barbara.doubt.str.contains("another picture size").all()


def test_files_stay_small():
    assert all(path.stat().st_size < 400 * 1024 for path in published.FOLDER.glob("*.csv"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"convention": "peak 255"}, "convention 'peak 255'"),
        ({"convention": "data range 1", "offset_to_add": 0.6}, "convention 'data range 1' with offset 0.6"),
        ({"convention": "max(clean)", "offset_to_add": 0.0}, "convention 'max\\(clean\\)' with offset 0.0"),
        ({"evidence": "hearsay"}, "evidence 'hearsay'"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, monkeypatch, values, change, said):
    row = values.head(1)[list(published.VALUES)].assign(**change)
    row.to_csv(tmp_path / "broken.csv", index=False)
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    with pytest.raises(ArtefactError, match=said):
        published.values("broken")


def test_a_double_or_missing_file_is_refused(tmp_path, monkeypatch, values):
    row = values.head(1)[list(published.VALUES)]
    pd.concat([row, row]).to_csv(tmp_path / "twice.csv", index=False)
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    with pytest.raises(ArtefactError, match="stands there twice"):
        published.values("twice")
    with pytest.raises(ArtefactError, match="no such file"):
        published.values("none")


@pytest.fixture(scope="module")
def energies():
    return published.values("ising")


@pytest.mark.parametrize(
    ("name", "value", "density"),
    [
        ("ising-ipruning-cifar10-resnet18-original-top1", 0.9281, 1.0),
        ("ising-ipruning-cifar10-resnet18-dc-top1", 0.7618, 0.4919),
        ("ising-ipruning-cifar10-resnet18-full-top1", 0.8412, 0.4919),
        ("ising-ipruning-cifar100-squeezenet-pruned-loss", 1.9437, 0.532),
        ("ising-ipruning-flowers102-resnet101-dc-top5", 0.6242, 0.4623),
        ("ising-edropout-kuzushiji-alexnet-pruned-top1", 0.9657, 0.7857),
        ("ising-edropout-fashion-squeezenet-full-top3", 0.9935, 0.5283),
    ],
)
def test_cells_of_the_energies_tables(energies, name, value, density):
    row = one(energies, id=name)
    assert (row.value, row.density, row.evidence) == (value, density, "table")


def test_the_energies_tables_are_whole(energies):
    sizes = energies.assign(table=energies.id.str.split("-").str[1]).groupby(["table", "dataset"]).size()
    cells = 4 * (4 * 4 + 2 * 3) + 2 * (4 * 3 + 2 * 2)  # four cells a row; R and #p once for rows F and P
    assert sizes["ipruning"].to_dict() == dict.fromkeys(energies.dataset.unique(), cells)
    cells = 4 * (4 * 3 + 2 * 2) + 2 * (4 * 2 + 2)
    assert sizes["edropout"].to_dict() == {"fashion": cells, "kuzushiji": cells}
    assert sizes["readme"].to_dict() == {"flowers102": 3 * 6}


def test_impossible_cells_and_copied_ones_are_doubtful(energies):
    energies = energies[energies.metric.str.match("top|loss")]
    wide = energies.assign(row=energies.id.str.rsplit("-", n=1).str[0], k=energies.metric.str.removesuffix("_full"))
    cells, doubt = (
        wide.pivot(index="row", columns="k", values="value"),
        wide.pivot(index="row", columns="k", values="doubt"),
    )
    impossible = (cells.top1 > cells.top3) | (cells.top3 > cells.top5)
    assert sorted(cells.index[impossible]) == [
        f"ising-ipruning-kuzushiji-{network}-pruned" for network in ("alexnet", "squeezenet")
    ]
    for metric in ("top3", "top5"):
        assert doubt[metric][impossible].str.contains("impossible").all()
    twice = cells.index[cells.duplicated(["top1", "top3", "top5"], keep=False)]
    copied = [name for name in twice if "flowers" in name]
    assert len(twice) == 4 and len(copied) == 2 and doubt.top1[copied].str.contains("copying").all()


def test_a_kept_share_agrees_with_the_kept_parameters_or_is_doubtful(energies):
    dense = (
        energies[energies.method == "dense"]
        .drop_duplicates(["dataset", "model"])
        .set_index(["dataset", "model"])["kept"]
    )
    rows = energies[(energies.method != "dense") & energies.metric.str.startswith("top1")]
    share = rows.kept / dense.loc[list(zip(rows.dataset, rows.model, strict=True))].to_numpy()
    off = rows[(share - rows.density).abs() > 0.015]
    assert set(off.id) == {
        "ising-ipruning-fashion-resnet101-dc-top1",
        "ising-ipruning-flowers102-resnet50-dc-top1",
    }
    assert (off.doubt != "").all()


@pytest.fixture(scope="module")
def structural():
    return published.values("isomorphic")


@pytest.mark.parametrize(
    ("name", "value", "density", "evidence"),
    [
        ("isomorphic-deit-base-4.2g-top1", 0.8241, 0.2369, "image"),
        ("isomorphic-deit-base-2.6g-macs", 2_620_000_000, 0.1496, "image"),
        ("isomorphic-deit-small-1.2g-parameters", 5_740_000, 0.2558, "image"),
        ("isomorphic-deit-tiny-0.6g-top1", 0.7260, 0.5212, "image"),
        ("isomorphic-convnext-8.5g-top1", 0.8317, 0.5346, "image"),
        ("isomorphic-convnext-4.2g-top1-abstract", 0.8218, 0.2858, "abstract"),
        ("isomorphic-resnet50-2.0g-top1", 0.7591, 0.5888, "second-hand"),
        ("isomorphic-resnet101-3.8g-macs", 3_850_000_000, 0.5582, "second-hand"),
    ],
)
def test_values_of_pruned_imagenet_networks(structural, name, value, density, evidence):
    row = one(structural, id=name)
    assert (row.value, row.density, row.evidence) == (value, density, evidence)


def test_values_quoted_from_others_belong_to_no_run_of_ours(structural):
    other = structural[structural.state == "other work"]
    assert (other.task == "").all() and (structural.task[structural.state == ""] != "").all()
    assert sum(other.metric == "top1") == 32
    assert one(other, model="deit-base", method="nvit-b", metric="top1").value == 0.8329


def test_sizes_agree_with_the_kept_parameters(structural):
    sizes = structural[(structural.metric == "parameters_kept") & (structural.state == "")]
    assert (sizes.kept == sizes.value).all() and len(sizes) == 18
    assert (sizes.density[sizes.method == "dense"] == 1).all()


# How many numbers each source holds, counted there: (paper, evidence, how its source begins) -> rows.
COUNTS = {
    # 422 runs of Set14 with peak and final; of four mask searches loss, threshold and PSNR; two logs of SNIP (a peak
    # and two finals); five densities with dead masks; means at three other noise levels (4 + 4 + 2 methods, peak and
    # final); 62 runs of five pictures, 56 of four faces; four transfers of OES and IMP masks
    ("oes", "log", ""): 2 * 422 + 4 * 3 + 3 + 5 + 2 * (4 + 4 + 2) + 2 * 62 + 2 * 56 + 2 * 2 * 4,
    ("oes", "figure", "flow.svg"): 3,
    ("oes", "figure", "psnr_comb0.svg"): 2 * 5,
    ("oes", "figure", "Set14-0.svg"): 2 * (1 + 14 + 2),  # OES, IMP's 14 rounds, SynFlow and GraSP
    ("oes", "notebook", "OES_demo_comparison.ipynb"): 8 + 8 + 9,
    ("oes", "notebook", "impvsoes_comparison.ipynb"): 8 + 8,
    # 38 rows of Table 2 (one printed twice stands once), three cells each, eleven of them empty
    ("isomorphic", "image", "README, image of Table 2"): 3 * 38 - 11,
    ("isomorphic", "image", "README, list of models"): 3 + 3 + 1,
    ("isomorphic", "log", "README, sample log"): 4 + 4 + 3,
    ("isomorphic", "second-hand", "third-party note"): 1 + 3 + (3 + 4) + (3 + 4 + 4) + (2 + 5 + 3),
    ("isomorphic", "script", ""): 3,
    ("isomorphic", "abstract", ""): 2,
    # per data set: 22 rows of four cells; R and #p of Original, Deep Compression and P
    ("ising", "table", "sparsifai/ipruning pngs/res.png"): 5 * (22 * 4 + 16 * 2),
    ("ising", "table", "sparsifai/edropout png/k.png"): 16 * 4 + 10 * 2,
    ("ising", "table", "sparsifai/edropout png/f.png"): 16 * 4 + 10 * 2,
    ("ising", "table", "sparsifai/edropout README"): 6 * 3,
    ("expanders", "log", "DrImpossible/Deep-Expander-Networks"): 2 * 2,
    ("expanders", "log", "VITA-Group/ramanujan-on-pai"): 7 * 6 + 4,
    ("expanders", "figure", "Memoristor/WideTopo"): 6 + 4,
}


def test_every_number_that_was_read_is_there_and_no_other():
    counted = {paper: len(published.values(paper)) for paper in published.PAPERS}
    found = {
        key: int(((values.evidence == key[1]) & values.source.str.startswith(key[2])).sum())
        for key in COUNTS
        for values in [published.values(key[0])]
    }
    assert found == COUNTS
    totals = {paper: sum(count for key, count in COUNTS.items() if key[0] == paper) for paper in published.PAPERS}
    assert counted == totals == {"oes": 1224, "expanders": 60, "isomorphic": 158, "ising": 786}


@pytest.mark.parametrize("paper", published.PAPERS)
def test_every_value_says_where_it_stands_and_none_is_a_recollection(paper):
    values = published.values(paper)
    assert (values.source != "").all() and (values.paper == paper).all() and values.value.notna().all()
    assert set(values.evidence) <= set(published.EVIDENCE) and "recollection" not in published.EVIDENCE
    words = values.source + values.doubt + values.evidence
    assert not words.str.contains(r"recollect|memory|\[mem\]", case=False).any()


def test_what_contradicts_itself_is_called_impossible():
    states = {paper: published.values(paper).query("state == 'impossible'") for paper in published.PAPERS}
    assert {paper: len(rows) for paper, rows in states.items()} == {
        "oes": 0, "expanders": 0, "isomorphic": 1, "ising": 32
    }  # fmt: skip
    assert all((rows.doubt != "").all() for rows in states.values())
