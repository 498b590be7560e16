import json
import random

import numpy as np
import pytest

from prunelib.errors import ArtefactError, PrunelibError
from prunelib.report.collect import collect
from prunelib.report.tables import read_table
from prunelib.runs import Run
from tests.report.trees import TABLES, collected, write_run, write_tree

RUN = Run("oes", "denoise-coffee", "hourglass", "gumbel", "density0.1", 0)


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_equal_results_give_equal_bytes_whatever_the_order_and_the_times(tmp_path, tree):
    root, _ = tree
    paths = write_tree(tmp_path, range(3))
    for path in paths[:20]:
        record = json.loads(path.read_text())
        record["timing"]["wall_s"] = random.random()
        record["provenance"]["machine"]["cpu"] = "another"
        path.write_text(json.dumps(record))
    random.shuffle(paths)
    assert bytes_of(collected(tmp_path, paths)) == bytes_of(root / "tables")


def test_tables_hold_no_time_and_no_machine(tree):
    root, _ = tree
    for name in TABLES:
        columns = list(read_table(root / "tables" / f"{name}.csv"))
        assert not {column for column in columns if "wall" in column or "provenance" in column or "rss" in column}


def test_rows_are_sorted_as_a_reader_expects(tree):
    root, _ = tree
    runs = read_table(root / "tables" / "oes.csv")
    mine = runs[(runs.task == "denoise-coffee") & (runs.model == "hourglass")]
    assert list(dict.fromkeys(mine.method)) == [
        "dense",
        "sgld",
        "gumbel",
        "imp",
        "magnitude",
        "magnitude-repaired",
        "random",
        "snip",
        "grasp",
        "synflow",
        "synflow-upstream",
    ]
    assert list(dict.fromkeys(mine.budget[mine.method == "imp"])) == ["full", "density0.4642", "density0.1"]
    assert list(mine.seed[mine.method == "dense"]) == [0, 1, 2]


def test_columns_are_the_union_of_metrics_without_empty_ones(tree):
    root, _ = tree
    assert "psnr_final" in read_table(root / "tables" / "oes.csv")
    assert "psnr_final" not in read_table(root / "tables" / "ising.csv")
    everything = read_table(root / "tables" / "all_runs.csv")
    assert {"psnr_final", "top1", "density"} <= set(everything)


def test_dead_and_missing_runs_are_rows_too(tree):
    root, _ = tree
    runs = read_table(root / "tables" / "all_runs.csv")
    dead, missing = runs[runs.status == "dead"], runs[runs.status == "missing"]
    assert len(dead) == 6 and set(dead.why) == {"the output does not depend on the input"}
    assert list(missing.budget) == ["degree16", "degree16"] and missing.top1.isna().all()
    times = read_table(root / "provenance" / "runtimes.csv")
    assert list(times.status[times.path == missing_path()]) == ["missing"]


def missing_path():
    return Run("expanders", "classify-digits", "vgg-tiny", "rreg", "degree16", 0).path


def test_times_and_machines_go_to_their_own_file(tree):
    root, _ = tree
    times = read_table(root / "provenance" / "runtimes.csv").set_index("path")
    row = times.loc["ising/classify-digits/resnet-tiny/margin/density0.5/seed1"]
    assert row.wall_s == 13.5 and row.peak_rss_mb == 512
    assert row["provenance.machine.cpu"] == "Test CPU" and row["provenance.packages.torch"] == "2.13.0"


def test_sizes_after_slimming_are_columns_and_its_times_are_not(tree):
    root, _ = tree
    runs = read_table(root / "tables" / "oes.csv")
    masked = runs[(runs.budget != "full") & (runs.status == "ok")]
    assert set(masked.macs_slim) == {20_480_000} and set(masked.parameters_slim) == {100_000}
    assert runs[(runs.budget == "full") | (runs.status == "dead")].macs_slim.isna().all()
    assert not [column for column in runs if "step_ms" in column]
    times = read_table(root / "provenance" / "runtimes.csv").set_index("path")
    row = times.loc["oes/denoise-coffee/hourglass/gumbel/density0.1/seed1"]
    assert (row["slim.dense_step_ms"], row["slim.slim_step_ms"], row["slim.device"]) == (11.0, 4.0, "cpu")


def test_a_stub_of_a_slim_network_adds_nothing_and_a_foreign_one_is_named(tmp_path):
    path = write_run(tmp_path, RUN, {"psnr_final": 20.5})
    slim = path.with_name("slim.json")
    slim.write_text('{"stub": true}')
    collect([path], {"oes": tmp_path / "oes.csv"}, slim=[slim])
    assert "slim" not in (tmp_path / "oes.csv").read_text()
    slim.write_text('{"slim": 3}')
    with pytest.raises(ArtefactError, match="not a record of a compacted network"):
        collect([path], {}, slim=[slim])


def test_sizes_of_measured_networks_are_columns_and_their_times_are_not(tree):
    root, _ = tree
    runs = read_table(root / "tables" / "isomorphic.csv")
    cut = runs.budget == "macs0.5"
    assert set(runs[cut].file_mb) == {0.25} and set(runs[~cut].file_mb) == {0.5}
    assert set(runs[cut].macs_torch_pruning) == {2_100_000} and "cpu_batch1_ms" not in runs
    times = read_table(root / "provenance" / "runtimes.csv").set_index("path")
    row = times.loc["isomorphic/classify-digits/vit-tiny/local/macs0.5/seed1"]
    assert (row["cost.cpu_batch16_ms"], row["cost.cpu_batch16_speedup"], row["cost.threads"]) == (6.0, 1.5, 2)
    assert np.isnan(times.loc["oes/denoise-coffee/hourglass/dense/full/seed1"]["cost.threads"])


def test_a_stub_of_measured_networks_adds_nothing_and_a_foreign_file_is_named(tmp_path):
    path = write_run(tmp_path, RUN, {"psnr_final": 20.5})
    (tmp_path / "costs.json").write_text('{"stub": true}')
    collect([path], {"oes": tmp_path / "oes.csv"}, costs=[tmp_path / "costs.json"])
    assert "file_mb" not in (tmp_path / "oes.csv").read_text()
    (tmp_path / "costs.json").write_text('{"runs": 3}')
    with pytest.raises(ArtefactError, match="not a record of measured networks"):
        collect([path], {}, costs=[tmp_path / "costs.json"])


def test_what_diagnostics_say_of_the_network_is_columns(tree):
    root, _ = tree
    for name in ("all_runs", "expanders"):
        runs = read_table(root / "tables" / f"{name}.csv")
        masked = runs[(runs.paper == "expanders") & (runs.status == "ok") & (runs.budget != "full")]
        assert set(masked[masked.method == "rreg"].graph_edges) == {54, 134}
        assert masked.graph_sigma2_bound.to_numpy() == pytest.approx(2 / masked.graph_expansion.to_numpy(), abs=1e-5)
        assert set(masked.graph_effective_share) == {0.9}
        assert "graph_mixing" not in runs and "graph_layer" not in runs
    assert runs[runs.budget == "full"].graph_edges.isna().all()
    assert "graph_edges" not in read_table(root / "tables" / "oes.csv")


def test_foreign_diagnostics_are_named(tmp_path):
    path = write_run(tmp_path, RUN, {"psnr_final": 20.5})
    found = path.with_name("diagnostics.json")
    found.write_text('{"network": 3}')
    with pytest.raises(ArtefactError, match="not the diagnostics of a mask"):
        collect([path], {}, diagnostics=[found])


def test_a_metric_of_null_is_an_empty_cell(tmp_path):
    path = write_run(tmp_path, RUN, {"psnr_final": None, "psnr_peak": 20.5})
    collect([path], {"oes": tmp_path / "oes.csv"})
    assert (tmp_path / "oes.csv").read_text().splitlines()[1].endswith(",0,ok,quick,,20.500000")


def test_no_run_at_all_gives_headings_only(tmp_path):
    tables = collected(tmp_path, [])
    assert read_table(tables / "all_runs.csv").empty and read_table(tables / "summary.csv").empty
    assert set(read_table(tables / "claims.csv").outcome) == {"no data"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not valid JSON"),
        ("{}", "not a run's metrics"),
        ('{"run": {"paper": "oes"}, "status": "ok", "metrics": {}}', "not a run's metrics"),
        ('{"status": "ok", "metrics": []}', "not a run's metrics"),
    ],
)
def test_a_torn_or_foreign_file_is_named(tmp_path, content, said):
    path = write_run(tmp_path, RUN, {})
    path.write_text(content)
    with pytest.raises(ArtefactError, match=said) as caught:
        collect([path], {}, tmp_path / "runtimes.csv")
    assert str(path) in str(caught.value)


def test_an_unknown_status_is_refused(tmp_path):
    path = write_run(tmp_path, RUN, {}, status="fine")
    with pytest.raises(ArtefactError, match="status one of ok, dead, failed, running, missing"):
        collect([path], {})


def test_a_missing_run_needs_a_path_that_a_run_can_have(tmp_path):
    with pytest.raises(PrunelibError, match="is no run"):
        collect([tmp_path / "a" / "metrics.json"], {})


def test_an_unknown_table_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match=r"no table is called 'oess'.*Allowed: all_runs"):
        collect([], {"oess": tmp_path / "oess.csv"})
