"""The method and its step: a record that says everything, the same bytes twice, clear refusals."""

import json

import pytest
import torch

from prunelib.errors import ArtefactError, MethodError
from prunelib.measure.cost import macs, parameters
from prunelib.methods.isomorphic import run
from prunelib.models.structure import load_structure
from prunelib.seeds import generator
from prunelib.storage.weights import save_weights

OPTIONS = {"batches": 2, "round_to": 1}
BUDGET = {"kind": "macs", "value": 0.5}


@pytest.fixture
def parent(resnet, tmp_path):
    save_weights(tmp_path / "dense.safetensors", resnet.state_dict())
    return tmp_path / "dense.safetensors"


def settings(task, **options):
    method = {"uses": "structural", "options": OPTIONS | options}
    return {"model": task.model, "method": method, "budget": BUDGET, "seed": 0}


@pytest.mark.parametrize("mode", ["isomorphic", "global", "local"])
def test_method_prunes_to_the_budget(resnet_task, parent, mode):
    model, record = run.structural(resnet_task, BUDGET, generator(0, "ties"), parent=parent, mode=mode, **OPTIONS)
    assert record["realised"] == pytest.approx(0.5, abs=0.01) and record["requested"] == 0.5
    assert record["pruned"] == {"macs": macs(model, resnet_task.example), "parameters": parameters(model)}
    after = {row["name"]: row["after"] for row in record["groups"]}
    assert after["stages.0.0.conv1"] == model.stages[0][0].conv1.out_channels
    assert record["fixed"] == [{"name": "fc", "channels": 10, "why": "holds the model's outputs"}]
    assert model.training


def test_modes_choose_differently(resnet_task, parent):
    widths = {}
    for mode in ("isomorphic", "global", "local"):
        _, record = run.structural(resnet_task, BUDGET, generator(0, "ties"), parent=parent, mode=mode, **OPTIONS)
        widths[mode] = tuple(row["after"] for row in record["groups"])
    assert len(set(widths.values())) == 3


def test_step_writes_the_same_bytes_twice_and_they_load(resnet_task, parent, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "open_task", lambda settings, data, device: resnet_task)
    written = []
    for name in ("a", "b"):
        outputs = {"weights": tmp_path / name / "pruned.safetensors", "record": tmp_path / name / "pruned.json"}
        run.prune_structure(settings(resnet_task), "data.h5", parent, outputs)
        written.append([path.read_bytes() for path in outputs.values()])
    assert written[0] == written[1]
    record = json.loads(written[0][1])
    assert record["facts"] == {"classes": 10, "in_channels": 1}
    model = load_structure(outputs["weights"])
    assert macs(model, resnet_task.example) == record["pruning"]["pruned"]["macs"]


def test_heads_are_recorded_per_block(vit, vit_task, tmp_path):
    save_weights(tmp_path / "dense.safetensors", vit.state_dict())
    model, record = run.structural(
        vit_task, BUDGET, generator(0, "ties"), parent=tmp_path / "dense.safetensors", criterion="l1", **OPTIONS
    )
    rows = {row["name"]: row for row in record["groups"] if "heads" in row}
    assert len(rows) == 3
    for index, block in enumerate(model.blocks):
        row = rows[f"blocks.{index}.attn.qkv"]
        assert row["heads"] == [[3, 8], [block.attn.num_heads, block.attn.head_dim]]
        assert row["after"] == block.attn.attn_dim


def test_weights_of_another_network_are_refused(vit_task, parent):
    with pytest.raises(ArtefactError, match="not the weights of this run's network"):
        run.structural(vit_task, BUDGET, generator(0, "ties"), parent=parent, **OPTIONS)


def test_diverged_weights_are_refused(resnet, resnet_task, tmp_path):
    resnet.fc.weight.data[0, 0] = float("nan")
    save_weights(tmp_path / "dense.safetensors", resnet.state_dict())
    with pytest.raises(MethodError, match="not finite"):
        run.structural(resnet_task, BUDGET, generator(0, "ties"), parent=tmp_path / "dense.safetensors", **OPTIONS)


def test_zero_norms_do_not_stop_pruning(resnet, resnet_task, tmp_path):
    """Zero last norms give zero Taylor scores, which upstream turns into NaN: it leaves those groups whole."""
    for stage in resnet.stages:
        for block in stage:
            torch.nn.init.zeros_(block.bn2.weight)
    save_weights(tmp_path / "dense.safetensors", resnet.state_dict())
    _, record = run.structural(
        resnet_task, BUDGET, generator(0, "ties"), parent=tmp_path / "dense.safetensors", **OPTIONS
    )
    assert all(row["after"] < row["before"] for row in record["groups"])
