"""``crate``: an RO-Crate that loads again, with the checksum of every file and an action for every job."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from prunelib.__main__ import main
from prunelib.workflow.records import SUFFIX, read
from prunelib.workflow.verify import Verifier
from tests.workflow.harness import ROOT, Asked, Tree

RUN = "oes/denoise/hourglass/gumbel/density0.5/seed0"
JOBS = [Asked("data", "photo"), Asked("mask", RUN), Asked("train", RUN)]
MASK = f"results/runs/{RUN}/mask.h5"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a mask and a training, stand-ins, and the workflow beside them."""
    tree = Tree(tmp_path_factory.mktemp("crate"), mode="stub")
    for asked in JOBS:
        assert tree.do(asked) == 0, tree.said()
    for name in ("rules", "workflow_scripts"):
        shutil.copytree(ROOT / name, tree.directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", tree.directory)
    (tree.directory / "results" / "my notes.txt").write_text("a name with a space")
    return tree.directory / "results"


@pytest.fixture(scope="module")
def exported(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crate as a directory."""
    target = tmp_path_factory.mktemp("out") / "crate"
    assert main(["crate", str(results), str(target)]) == 0
    return target


def test_it_loads_again_and_every_file_is_there_with_size_and_checksum(results: Path, exported: Path) -> None:
    crate = ROCrate(exported)
    files = {entity["name"]: entity for entity in crate.get_by_type("File")}
    assert {
        f"results/runs/{RUN}/{name}" for name in ("mask.h5", "weights.safetensors", f"train{SUFFIX}")
    } < files.keys()
    assert {"Snakefile", "rules/oes.smk", "workflow_scripts/train.py", "results/my notes.txt"} < files.keys()
    assert not any("finished" in name or "logs" in name for name in files)
    on_disk = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert on_disk - {"ro-crate-metadata.json"} == files.keys()
    for name, entity in files.items():
        content = (exported / name).read_bytes()
        assert (int(entity["contentSize"]), entity["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert list(Verifier(exported / "results").findings())[-1].path.name == "my notes.txt"


def test_every_job_is_an_action_with_instrument_inputs_outputs_and_times(exported: Path) -> None:
    crate = ROCrate(exported)
    actions = {action["name"]: action for action in crate.get_by_type("CreateAction")}
    assert actions.keys() == {"data/photo", f"{RUN}/mask", f"{RUN}/train", "All recorded jobs"}
    record, action = read(exported / f"results/runs/{RUN}/mask{SUFFIX}"), actions[f"{RUN}/mask"]
    assert action["object"]["name"] == "results/data/photo.h5" and action["result"]["name"] == MASK
    assert (action["startTime"], action["endTime"]) == (record["started"], record["ended"])
    assert action["subjectOf"]["name"] == f"results/runs/{RUN}/mask{SUFFIX}"
    script = action["instrument"]
    assert script["name"] == "prunelib find_mask" and record["code"] in script["softwareVersion"]
    packages = {package["name"]: package["version"] for package in script["softwareRequirements"]}
    assert packages == {"python": record["python"], **record["packages"]}
    assert "Stand-ins" in action["description"] and "no results" in crate.root_dataset["description"]
    assert {entity["name"] for entity in actions[f"{RUN}/train"]["object"]} == {"results/data/photo.h5", MASK}


def test_the_root_names_licence_profiles_workflow_and_authors(exported: Path) -> None:
    crate = ROCrate(exported)
    assert crate.root_dataset["license"].id == "https://spdx.org/licenses/MIT"
    profiles = {entity.id for entity in crate.root_dataset["conformsTo"]}
    assert "https://w3id.org/ro/wfrun/workflow/0.5" in profiles
    workflow = crate.mainEntity
    assert workflow["name"] == "Snakefile" and workflow["author"]["name"] == "prunelib authors"
    assert workflow["programmingLanguage"]["name"] == "Snakemake"
    assert crate.get("#workflow-run")["instrument"] == workflow


def test_without_the_workflow_it_is_a_record_of_processes(results: Path, tmp_path: Path) -> None:
    for name in ("data", "runs"):
        shutil.copytree(results / name, tmp_path / "sent" / name)
    assert main(["crate", str(tmp_path / "sent"), str(tmp_path / "crate")]) == 0
    crate = ROCrate(tmp_path / "crate")
    assert crate.root_dataset["conformsTo"].id == "https://w3id.org/ro/wfrun/process/0.5"
    assert crate.mainEntity is None


def test_a_zip_holds_the_same(results: Path, exported: Path, tmp_path: Path, capsys) -> None:
    assert main(["crate", str(results), str(tmp_path / "mine.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "mine.zip") as archive:
        assert set(archive.namelist()) == {
            path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()
        }
        assert archive.read(MASK) == (exported / MASK).read_bytes()
    assert "3 jobs" in capsys.readouterr().out


def test_an_input_that_is_not_in_the_crate_is_named_by_its_checksum(tmp_path: Path) -> None:
    from tests.commands.test_verify import record

    (tmp_path / "mine.png").write_bytes(b"pixels")
    (tmp_path / "results" / "data").mkdir(parents=True)
    (tmp_path / "results" / "data" / "mine.h5").write_bytes(b"data")
    record(tmp_path, "prepare_data", [tmp_path / "mine.png"], tmp_path / "results" / "data" / "mine.h5")
    assert main(["crate", str(tmp_path / "results"), str(tmp_path / "crate")]) == 0
    (action,) = ROCrate(tmp_path / "crate").get_by_type("CreateAction")
    assert action["object"]["name"] == "mine.png"
    assert action["object"]["sha256"] == hashlib.sha256(b"pixels").hexdigest()


@pytest.mark.parametrize("out", ["results/inside.zip", "there"])
def test_what_can_not_be_exported_is_one_clear_line(results: Path, tmp_path: Path, capsys, out: str) -> None:
    shutil.copytree(results, tmp_path / "results")
    (tmp_path / "there").mkdir()
    assert main(["crate", str(tmp_path / "results"), str(tmp_path / out)]) == 2
    assert out in capsys.readouterr().err
    (tmp_path / MASK).write_bytes(b"changed")
    assert main(["crate", str(tmp_path / "results"), str(tmp_path / "new.zip")]) == 2
    assert "mask.h5" in capsys.readouterr().err and not (tmp_path / "new.zip").exists()
