"""Two trees side by side: matching, tolerances, methods under another label, what only one has."""

import pytest

from prunelib.errors import ArtefactError, ConfigError
from prunelib.report.compare import Tolerance, compare, read_tree, relabel, summary
from prunelib.runs import Run
from tests.report.trees import write_run

DENSE = Run("oes", "denoise-x", "hourglass", "dense", "full", 0)
SNIP = Run("oes", "denoise-x", "hourglass", "snip", "density0.5", 0)


def _tree(root, values, status="ok"):
    for run, metrics in values.items():
        write_run(root, run, metrics, status=status)
    return read_tree(root, root / "scratch")


def test_equal_trees_have_no_difference(tmp_path):
    a, b = (_tree(tmp_path / name, {DENSE: {"psnr_final": 25.0}, SNIP: {"psnr_final": 24.5}}) for name in "ab")
    found = compare(a, b, Tolerance())
    assert list(found.metric) == ["status", "psnr_final"] * 2 and set(found.verdict) == {"equal"}
    assert summary(found).to_dict("records")[1] == {"metric": "psnr_final", "values": 2, "differ": 0, "largest": 0.0}


@pytest.mark.parametrize(
    ("tolerance", "verdict"),
    [
        (Tolerance(), "differs"),
        (Tolerance(absolute=0.25), "within tolerance"),
        (Tolerance(absolute=0.2), "differs"),
        (Tolerance(relative=0.01), "within tolerance"),  # of the larger value, 25.25
        (Tolerance(relative=0.0098), "differs"),
        (Tolerance(own={"psnr_final": 0.3}), "within tolerance"),
        (Tolerance(absolute=1.0, own={"psnr_final": 0.1}), "differs"),
    ],
)
def test_tolerances(tmp_path, tolerance, verdict):
    a, b = (_tree(tmp_path / name, {DENSE: {"psnr_final": v}}) for name, v in (("a", 25.0), ("b", 25.25)))
    row = compare(a, b, tolerance, ["psnr_final"]).iloc[1]
    assert row.verdict == verdict and row.difference == 0.25


def test_what_one_side_lacks_differs(tmp_path):
    a = _tree(tmp_path / "a", {DENSE: {"psnr_final": 25.0, "ssim_final": 0.5}, SNIP: {"psnr_final": 24.0}})
    b = _tree(tmp_path / "b", {DENSE: {"psnr_final": 25.0}, Run(*SNIP.path.split("/")[:5], 1): {"psnr_final": 24.0}})
    found = compare(a, b, Tolerance(absolute=9))
    said = {(row.method, row.seed, row.metric): row.verdict for row in found.itertuples()}
    assert said[("dense", 0, "psnr_final")] == "equal" and said[("dense", 0, "ssim_final")] == "differs"
    assert said[("snip", 0, "")] == "only in A" and said[("snip", 1, "")] == "only in B"


def test_a_run_that_died_differs(tmp_path):
    a, b = _tree(tmp_path / "a", {SNIP: {}}), _tree(tmp_path / "b", {SNIP: {}}, status="dead")
    assert compare(a, b, Tolerance()).verdict.tolist() == ["differs"]


def test_one_method_against_another(tmp_path):
    upstream = Run(*DENSE.path.split("/")[:3], "snip-upstream", "density0.5", 0)
    runs = _tree(tmp_path / "a", {SNIP: {"psnr_final": 24.0}, upstream: {"psnr_final": 25.0}})
    renamed = relabel(runs, {"snip-upstream": "snip"})
    found = compare(renamed, runs[runs.method == "snip"], Tolerance())
    assert found[found.metric == "psnr_final"].difference.tolist() == [-1.0]
    with pytest.raises(ConfigError, match="Did you mean 'snip'"):
        relabel(runs, {"snipp": "snip"})


def test_tables_are_trees_too(tmp_path):
    made = _tree(tmp_path / "a", {DENSE: {"psnr_final": 25.0}})
    table = tmp_path / "a" / "scratch" / "all_runs.csv"
    for path in (table, table.parent):
        assert read_tree(path, tmp_path).equals(made)
    with pytest.raises(ArtefactError, match="no results"):
        read_tree(tmp_path / "b", tmp_path)
    (tmp_path / "other.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ArtefactError, match="no column paper, task"):
        read_tree(tmp_path / "other.csv", tmp_path)
    with pytest.raises(ConfigError, match="Did you mean 'psnr_final'"):
        compare(made, made, Tolerance(), ["psnr_fina"])


def test_times_of_recorded_runs_are_not_compared(tmp_path):
    for name, wall in (("a", 1.0), ("b", 2.0)):
        header = "paper,task,model,method,budget,seed,status,scale,why,top1,timing.wall_s"
        (tmp_path / name).mkdir()
        (tmp_path / name / "runs.csv").write_text(f"{header}\noes,t,m,dense,full,0,ok,quick,,0.5,{wall}\n")
    a, b = (read_tree(tmp_path / name, tmp_path) for name in "ab")
    assert set(compare(a, b, Tolerance()).metric) == {"status", "top1"}
