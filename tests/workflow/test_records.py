"""The record of every kind of job: what is in it, that it is sealed, and that chains of jobs can be followed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from prunelib.errors import ArtefactError
from prunelib.storage.files import sha256
from prunelib.workflow.finished import AGAIN
from prunelib.workflow.records import SUFFIX, read, sealed, write
from prunelib.workflow.step import import_for
from tests.workflow.harness import CONFIG, Asked, Tree
from tests.workflow.test_batches import BATCH, MASKS

RUN = "oes/denoise/hourglass/gumbel/density0.5/seed0"
JOBS = [Asked("data", "photo"), Asked("mask", RUN), Asked("train", RUN)]
RECORDS = ["data/photo.h5" + SUFFIX, f"runs/{RUN}/mask{SUFFIX}", f"runs/{RUN}/train{SUFFIX}"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A data set, a mask and a training."""
    tree = Tree(tmp_path_factory.mktemp("records"))
    for asked in JOBS[1:]:  # imported here, not in every process
        script, given = tree.prepare(asked)
        import_for(script, given.params["work"]["runs"])
    for asked in JOBS:
        assert tree.do(asked) == 0, tree.said()
    return tree


def record(tree: Tree, number: int) -> dict:
    return read(tree.directory / "results" / RECORDS[number])


@pytest.mark.parametrize("number", range(3))
def test_a_record_says_what_a_job_was_made_with_and_what_it_made(tree: Tree, number: int) -> None:
    found, asked = record(tree, number), JOBS[number]
    assert found["job"] == ("data/photo" if asked.kind == "data" else f"{RUN}/{asked.kind}")
    assert found["step"] == ["prepare_data", "find_mask", "train"][number]
    assert found["stub"] is False and len(found["identity"]) == 64 and len(found["code"]) == 16
    assert found["execution"] == {"threads": 1, "device": "cpu", "processes": 1, "checkpoint_seconds": 1e-9} | {
        "deterministic": False
    }
    assert found["packages"]["torch"] and found["python"] and found["machine"]["cpu"]
    assert {"commit", "dirty", "prunelib"} <= found.keys()
    assert 0 < found["wall_s"] < 100 and 0 < found["cpu_s"] < 100 and 20 < found["peak_rss_mb"] < 5000
    assert found["peak_gpu_mb"] is None and found["started"] < found["ended"]
    made = {tree.directory / name: digest for name, digest in found["outputs"].items()}
    assert made == {path: sha256(path) for path in tree.outputs(asked)}
    for name, digest in found["inputs"].items():
        assert sha256(tree.directory / name) == digest


def test_settings_and_seed_are_those_of_the_configuration(tree: Tree) -> None:
    data, mask, train = (record(tree, number)["settings"] for number in range(3))
    assert data["spec"]["options"]["name"] == "astronaut"
    assert mask["settings"]["method"]["options"]["steps"] == 20 and mask["settings"]["seed"] == 0
    assert train["settings"]["recipe"]["steps"] == 20


def test_a_chain_is_followed_by_the_digests_of_parents(tree: Tree) -> None:
    data, mask, train = (record(tree, number) for number in range(3))
    assert data["parents"] == {}
    assert mask["parents"] == {f"results/{RECORDS[0]}": data["digest"]}
    assert train["parents"] == mask["parents"] | {f"results/{RECORDS[1]}": mask["digest"]}


@pytest.mark.parametrize("change", ["value", "space", "cut", "seal"])
def test_a_changed_record_is_refused(tree: Tree, tmp_path: Path, change: str) -> None:
    text = (tree.directory / "results" / RECORDS[1]).read_text()
    found = json.loads(text)
    texts = {
        "value": text.replace('"stub": false', '"stub": true'),
        "space": text.replace('"stub": ', '"stub":  '),
        "cut": text[:-40],
        "seal": json.dumps(found | {"seal": "0" * 64}, indent=1) + "\n",
    }
    path = tmp_path / f"mask{SUFFIX}"
    path.write_text(text)
    assert read(path) == found
    path.write_text(texts[change])
    with pytest.raises(ArtefactError, match="mask"):
        read(path)


def test_what_was_kept_keeps_its_record_and_names_its_parents_of_now(tree: Tree, tmp_path: Path) -> None:
    other = tree.copy(tmp_path / "tree", JOBS[2])
    assert other.do(JOBS[2]) == 0
    before = record(other, 2)
    mask = tmp_path / "tree" / "results" / RECORDS[1]
    write(mask, sealed(read(mask) | {"identity": "made by other code, with the same bytes"}))
    assert other.do(JOBS[2]) == 0
    after = record(other, 2)
    assert after["parents"][f"results/{RECORDS[1]}"] == read(mask)["digest"]
    changing = ("parents", "digest", "seal")
    assert all(before[name] == after[name] for name in before if name not in changing)
    assert all(before[name] != after[name] for name in changing)


def test_the_digest_is_that_of_any_other_attempt_and_times_are_not_in_it(tree: Tree, tmp_path: Path) -> None:
    other = tree.copy(tmp_path / "tree", JOBS[1])
    os.environ[AGAIN] = "1"
    try:
        assert other.do(JOBS[1]) == 0, other.said()
    finally:
        del os.environ[AGAIN]
    first, again = record(tree, 1), record(other, 1)
    assert first["digest"] == again["digest"] and first["seal"] != again["seal"]


def test_a_stand_in_says_so(tmp_path: Path) -> None:
    tree = Tree(tmp_path, mode="stub")
    for asked in JOBS:
        assert tree.do(asked) == 0, tree.said()
    assert [record(tree, number)["stub"] for number in range(3)] == [True] * 3


def test_runs_of_a_batch_have_times_and_memory_of_their_own(tree: Tree, tmp_path: Path) -> None:
    raw = yaml.safe_load(CONFIG.read_text())
    block = raw["grid"]["oes"][0] | {"methods": ["covering", "gumbel"]}
    batch = Tree(tmp_path, batch=2, grid=raw["grid"] | {"oes": [block]})
    for asked in (JOBS[0], BATCH):
        assert batch.do(asked) == 0, batch.said()
    found = [read(tmp_path / "results" / "runs" / run / f"mask{SUFFIX}") for run in MASKS]
    assert [one["job"] for one in found] == [f"{run}/mask" for run in MASKS]
    assert found[0]["ended"] <= found[1]["started"]
    assert all(one["inputs"].keys() == {"results/data/photo.h5"} for one in found)
