"""Networks of one task and model measured side by side: sizes counted, times in turn, each run by its path."""

import json

import pytest
import torch

from prunelib.channels.groups import find_groups
from prunelib.channels.removal import remove_
from prunelib.errors import ArtefactError
from prunelib.measure import network
from prunelib.measure.cost import forward_memory_mb, macs, macs_torch_pruning, parameters
from prunelib.models.build import build
from prunelib.models.structure import save_structure
from prunelib.runs import Run
from prunelib.storage.weights import save_weights
from tests.tiny import settings, write_squares

MODEL = {"builder": "resnet_small", "options": {"width": 8, "blocks": 1}}
FACTS = {"classes": 3, "in_channels": 1}
EXAMPLE = torch.zeros(2, 1, 8, 8)
DENSE = Run("isomorphic", "squares", "tiny", "dense", "full", 0)
LESS = Run("isomorphic", "squares", "tiny", "isomorphic", "macs0.5", 0)


@pytest.fixture
def runs(tmp_path):
    """A dense run and one without half of the channels of its first block, as the workflow leaves them."""
    dense = build(MODEL, 0, **FACTS)
    small = build(MODEL, 0, **FACTS)
    groups, _ = find_groups(small, EXAMPLE)
    inner = [group for group in groups if group.name == "stages.0.0.conv1"]
    remove_(small, inner, {"stages.0.0.conv1": torch.arange(4)})
    folders = {run: tmp_path / "runs" / run.path for run in (DENSE, LESS)}
    for run, model in ((DENSE, dense), (LESS, small)):
        folders[run].mkdir(parents=True)
        save_weights(folders[run] / "weights.safetensors", model.state_dict())
    where = folders[LESS]
    save_structure(small, {"model": MODEL, "facts": FACTS}, where / "pruned.safetensors", where / "pruned.json")
    return {"folders": folders, "networks": {DENSE: dense, LESS: small}}


def measured(tmp_path, runs, monkeypatch):
    monkeypatch.setattr(network, "ROUNDS", 4)
    folders = runs["folders"]
    network.measure_networks(
        settings(model=MODEL),
        write_squares(tmp_path / "data.h5"),
        [folder / "weights.safetensors" for folder in folders.values()],
        [folders[LESS] / "pruned.safetensors", folders[LESS] / "pruned.json"],
        tmp_path / "costs.json",
    )
    return json.loads((tmp_path / "costs.json").read_text())


def test_sizes_are_those_of_the_stored_networks(tmp_path, runs, monkeypatch):
    found = measured(tmp_path, runs, monkeypatch)["runs"]
    assert found.keys() == {DENSE.path, LESS.path}
    for run, model in runs["networks"].items():
        size, file = found[run.path]["size"], runs["folders"][run] / "weights.safetensors"
        assert (size["parameters"], size["macs"]) == (parameters(model), macs(model, EXAMPLE))
        assert size["macs_torch_pruning"] == macs_torch_pruning(model, EXAMPLE)
        assert size["file_mb"] == file.stat().st_size / 2**20 > 4 * size["parameters"] / 2**20
        assert size["forward_mb_batch16"] == forward_memory_mb(model, torch.zeros(16, 1, 8, 8))
    assert found[LESS.path]["size"]["macs"] < found[DENSE.path]["size"]["macs"]


def test_a_pruned_network_is_timed_against_the_dense_one_of_its_seed(tmp_path, runs, monkeypatch):
    record = measured(tmp_path, runs, monkeypatch)
    assert (record["threads"], record["gpu"], record["rounds"]) == (torch.get_num_threads(), None, 4)
    timing = {run: record["runs"][run.path]["timing"] for run in (DENSE, LESS)}
    names = {f"cpu_batch{count}_{name}" for count in (1, 16) for name in ("ms", "iqr_ms")}
    assert timing[DENSE].keys() == names
    assert timing[LESS].keys() == names | {"cpu_batch1_speedup", "cpu_batch16_speedup"}
    assert all(value > 0 for value in timing[LESS].values())


def test_weights_of_another_network_are_named(tmp_path, runs, monkeypatch):
    save_weights(runs["folders"][DENSE] / "weights.safetensors", {"fc.weight": torch.zeros(3, 3)})
    with pytest.raises(ArtefactError, match=r"dense/full/seed0/weights\.safetensors: not the weights"):
        measured(tmp_path, runs, monkeypatch)
