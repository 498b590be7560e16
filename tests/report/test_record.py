"""Recorded runs: small text files with every number, the configuration and what they were made with."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from prunelib.errors import ConfigError
from prunelib.masks.mask import Mask
from prunelib.report.page.build import build_page
from prunelib.report.page.recorded import recorded
from prunelib.report.record import record
from prunelib.report.structures import read_structures
from prunelib.runs import Run
from prunelib.storage.files import sha256
from tests.report.trees import write_isomorphic, write_run

CONFIG = {
    "scale": "quick",
    "seeds": [0, 1],
    "data": {"chelsea": {"source": "photo", "name": "chelsea", "side": 48}},
    "tasks": {"denoise-chelsea": {"kind": "denoise", "data": "chelsea"}},
    "models": {"small": {"builder": "hourglass", "channels": [4, 8]}},
    "recipes": {"dip": {"loop": "fit_image", "steps": 3}},
    "grid": {
        "oes": [
            {
                "tasks": ["denoise-chelsea"],
                "models": ["small"],
                "methods": ["gumbel"],
                "budgets": ["density0.05"],
                "recipe": "dip",
            }
        ]
    },
}
RUNS = [Run("oes", "denoise-chelsea", "small", "gumbel", "density0.05", seed) for seed in (0, 1)]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """One finished run, and one whose mask was searched only."""
    root = tmp_path / "results"
    write_run(root, RUNS[0], {"psnr_final": 25.5}, history={"step": range(2000), "psnr": [20.0] * 2000})
    (root / "runs" / RUNS[1].path).mkdir(parents=True)
    history = {"step": [0.0, 10.0], "loss": [0.08, 0.07], "mean_logit": [0.0, -0.1]}
    Mask({"w": torch.ones(4, dtype=torch.bool)}).save(root / "runs" / RUNS[1].path / "mask.h5", history)
    times = root / "benchmarks" / RUNS[0].path
    times.mkdir(parents=True)
    (times / "train.tsv").write_text("s\th:m:s\tmax_rss\tmean_load\n12.5\t0:00:12\t512.0\t99.0\n")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return root


def test_every_number_of_every_run_is_kept(results: Path) -> None:
    folder = record(results.parent / "config.yaml", "small", results)
    runs = pd.read_csv(folder / "runs.csv")
    assert list(runs.seed) == [0, 1] and runs.psnr_final[0] == 25.5
    assert list(runs.status) == ["ok", "only the mask was searched"]
    search = pd.read_csv(folder / "search.csv")
    assert search[["seed", "step", "loss", "mean_logit"]].values.tolist() == [[1, 0, 0.08, 0], [1, 10, 0.07, -0.1]]
    times = pd.read_csv(folder / "times.csv")
    assert times[["seed", "step", "s", "max_rss"]].values.tolist() == [[0, "train", 12.5, 512]]
    assert yaml.safe_load((folder / "config.yaml").read_text()) == CONFIG


def test_long_curves_are_thinned_and_keep_their_ends(results: Path) -> None:
    curves = pd.read_csv(record(results.parent / "config.yaml", "small", results) / "curves.csv")
    assert len(curves) == 500 and curves.step.iloc[0] == 0 and curves.step.iloc[-1] == 1999


def test_provenance_names_each_artefact_by_its_checksum(results: Path) -> None:
    known = json.loads((record(results.parent / "config.yaml", "small", results) / "provenance.json").read_text())
    path = f"{RUNS[1].path}/mask.h5"
    assert known["inputs"][path] == sha256(results / "runs" / path)
    assert {"recorded", "commit", "machine", "packages"} <= known.keys()


def test_provenance_names_the_code_that_trained_the_runs(results: Path) -> None:
    """They may have been made before the code that records them."""
    path = results / "runs" / RUNS[0].path / "metrics.json"
    written = json.loads(path.read_text()) | {"provenance": {"commit": "abc", "dirty": True}}
    path.write_text(json.dumps(written))
    known = json.loads((record(results.parent / "config.yaml", "small", results) / "provenance.json").read_text())
    assert known["trained_by"] == ["abc-dirty"]


def test_a_configuration_in_place_is_left_alone(results: Path) -> None:
    place = results / "reference" / "small" / "config.yaml"
    place.parent.mkdir(parents=True)
    place.write_text("# a comment that stays\n" + yaml.safe_dump(CONFIG))
    record(place, "small", results)
    assert place.read_text().startswith("# a comment that stays")


def test_nothing_to_record_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    with pytest.raises(ConfigError, match="none of its 2 runs has a result"):
        record(tmp_path / "config.yaml", "empty", tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_recorded_runs_stand_on_the_page_with_their_machine(results: Path, page: Path) -> None:
    table = record(results.parent / "config.yaml", "small", results) / "runs.csv"
    output = page / "report" / "index.html"
    build_page(page / "tables", page / "figures", page / "provenance" / "runtimes.csv", output, "quick", (), [table])
    shown = output.read_text()
    known = json.loads(table.with_name("provenance.json").read_text())
    assert 'id="recorded"' in shown and "25.50" in shown
    assert known["machine"]["cpu"] in shown and known["recorded"] in shown


def test_a_record_of_searches_alone_is_no_table(results: Path) -> None:
    shutil.rmtree(results / "runs" / RUNS[0].path)
    assert recorded([record(results.parent / "config.yaml", "small", results) / "runs.csv"]) == []


ISOMORPHIC = {
    "scale": "reduced",
    "seeds": [0, 1],
    "data": {"digits": {"source": "digits"}},
    "tasks": {"classify-digits": {"kind": "classify", "data": "digits"}},
    "models": {"resnet-tiny": {"builder": "resnet_small", "width": 8}},
    "methods": {mode: {"uses": "structural", "mode": mode} for mode in ("isomorphic", "global", "local")},
    "recipes": {"short": {"loop": "classify", "epochs": 1}},
    "grid": {
        "isomorphic": [
            {"tasks": ["classify-digits"], "models": ["resnet-tiny"], "recipe": "short", **more}
            for more in (
                {"methods": ["dense"]},
                {"methods": ["isomorphic", "global", "local"], "budgets": ["macs0.5"]},
            )
        ]
    },
}


def test_pruned_networks_are_recorded_with_their_widths_costs_and_who_wins(tmp_path: Path) -> None:
    write_isomorphic(tmp_path / "results", range(2))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(ISOMORPHIC))
    folder = record(tmp_path / "config.yaml", "cut", tmp_path / "results")
    runs = pd.read_csv(folder / "runs.csv").set_index(["method", "seed"])
    assert runs.loc[("global", 1), "cost.cpu_batch16_speedup"] == 1.5 and runs.loc[("dense", 0), "file_mb"] == 0.5
    again = read_structures([folder / "structures.csv"])
    assert len(again) == 3 * 2 * 5 and set(again.task) == {"classify-digits"}
    pd.testing.assert_frame_equal(
        again.dropna(axis=1),
        read_structures((tmp_path / "results" / "runs").rglob("resnet-tiny/**/pruned.json")).dropna(axis=1),
        check_dtype=False,
    )
    (found,) = recorded([folder / "runs.csv"])
    captions = [table.caption.split(":")[0] for table in found.tables]
    assert captions == ["Which ranking wins", "Recorded", "Time of a forward pass"]
    assert [row[0].text for row in found.tables[0].rows] == ["Isomorphic", "Global", "Local"]
