"""Blocks and channels removed together: the budget counts both, the record rebuilds the network, statistics follow."""

import json

import pytest
import torch

from prunelib.errors import MethodError
from prunelib.measure.cost import macs
from prunelib.methods.isomorphic import run
from prunelib.methods.isomorphic.statistics import Statistics, gather
from prunelib.models.structure import load_structure
from prunelib.seeds import generator
from prunelib.storage.weights import save_weights
from tests.methods.isomorphic.conftest import SmallTask, unlike_start_

CONVNEXT = {"builder": "timm", "options": {"name": "convnext_atto", "drop_path_rate": 0.2}}
BUDGET = {"kind": "macs", "value": 0.4}
OPTIONS = {"batches": 1, "remove_blocks": 4}


class ColourTask(SmallTask):
    """Random colour pictures of 32 pixels."""

    channels = 3

    def __init__(self) -> None:
        super().__init__(CONVNEXT)
        self.example = torch.randn(2, 3, 32, 32, generator=generator(0, "example"))

    def build(self):
        return run.registry.load("model", "timm")(10, 3, **CONVNEXT["options"])

    def batches(self, purpose, count):
        for _, targets in super().batches(purpose, count):
            yield torch.randn(len(targets), 3, 32, 32, generator=generator(0, purpose)), targets


@pytest.fixture
def task():
    return ColourTask()


@pytest.fixture
def parent(task, tmp_path):
    torch.manual_seed(0)
    model = unlike_start_(task.build())
    save_weights(tmp_path / "dense.safetensors", model.state_dict())
    return tmp_path / "dense.safetensors"


def test_the_budget_is_met_with_fewer_blocks_and_the_record_rebuilds_the_network(task, parent, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "open_task", lambda settings, data, device: task)
    settings = {"model": CONVNEXT, "method": {"uses": "structural", "options": OPTIONS}, "budget": BUDGET, "seed": 0}
    outputs = {"weights": tmp_path / "pruned.safetensors", "record": tmp_path / "pruned.json"}
    run.prune_structure(settings, "data.h5", parent, outputs)
    record = json.loads(outputs["record"].read_text())
    (path, kept), *others = record["blocks"].items()
    assert path == "stages.2.blocks" and len(kept) == 2 and others == []
    assert record["pruning"]["realised"] == pytest.approx(0.4, rel=0.01)
    model = load_structure(outputs["weights"]).eval()
    assert len(model.stages[2].blocks) == 2
    assert macs(model, task.example) == record["pruning"]["pruned"]["macs"]


def test_without_blocks_to_remove_the_record_has_all(task, parent):
    _, record = run.structural(task, BUDGET, generator(0, "ties"), parent=parent, batches=1)
    assert record["blocks"] == {}


def test_statistics_follow_the_blocks_that_stay(task, parent):
    found = gather(run.trained(task, parent), task, 1)
    left = found.without_blocks("stages.2.blocks", [1, 4])
    assert torch.equal(left.sums["stages.2.blocks.1.mlp.fc1.weight"], found.sums["stages.2.blocks.4.mlp.fc1.weight"])
    assert torch.equal(left.squares["stages.2.blocks.0.gamma"], found.squares["stages.2.blocks.1.gamma"])
    assert torch.equal(left.sums["stages.1.blocks.1.gamma"], found.sums["stages.1.blocks.1.gamma"])
    assert "stages.2.blocks.2.gamma" not in left.sums and isinstance(left, Statistics)


def test_random_scores_can_not_choose_blocks(task, parent):
    with pytest.raises(MethodError, match="remove_blocks: criterion random"):
        run.structural(task, BUDGET, generator(0, "ties"), parent=parent, criterion="random", **OPTIONS)
