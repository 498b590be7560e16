"""The method and its step: a record that says everything, the same bytes twice, clear refusals."""

import json

import pytest
import torch

from prunelib.errors import ArtefactError, MethodError
from prunelib.measure.cost import macs, parameters
from prunelib.methods.isomorphic import prune, run, speed
from prunelib.methods.isomorphic.statistics import gather
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


def structural(task, parent, budget=BUDGET, **options):
    return run.structural(task, budget, generator(0, "ties"), parent=parent, **OPTIONS | options)


def widths(record):
    return tuple(row["after"] for row in record["groups"])


@pytest.mark.parametrize("mode", ["isomorphic", "global", "local"])
def test_method_prunes_to_the_budget(resnet_task, parent, mode):
    model, record = structural(resnet_task, parent, mode=mode)
    assert record["realised"] == pytest.approx(0.5, rel=0.01) and record["requested"] == 0.5 and record["met"]
    assert record["pruned"] == {"macs": macs(model, resnet_task.example), "parameters": parameters(model)}
    assert record["pruned"] | {"ratio": record["ratio"]} == record["rounds"][0]
    after = {row["name"]: row["after"] for row in record["groups"]}
    assert after["stages.0.0.conv1"] == model.stages[0][0].conv1.out_channels
    assert record["fixed"] == [{"name": "fc", "channels": 10, "why": "holds the model's outputs"}]
    assert model.training and model.fc.out_features == 10


@pytest.mark.parametrize(("kind", "value"), [("parameters", 0.3), ("gmacs", 0.0002), ("macs", 0.25), ("ratio", 0.4)])
def test_budgets_of_every_kind_are_met(resnet_task, parent, kind, value):
    model, record = structural(resnet_task, parent, {"kind": kind, "value": value})
    real = {"macs": macs(model, resnet_task.example), "parameters": parameters(model)}
    share = real["parameters"] / record["dense"]["parameters"]
    found = {"parameters": share, "gmacs": real["macs"] / 1e9, "macs": real["macs"] / record["dense"]["macs"]}
    assert record["budget"] == kind and record["met"]
    assert record["realised"] == found.get(kind, value) == pytest.approx(value, rel=0.01)
    if kind == "ratio":
        shares = [1 - row["after"] / row["before"] for row in record["groups"] if row["set"] == 0]
        assert record["ratio"] == 0.4 and max(shares) == pytest.approx(0.4, abs=1 / 16)


def test_modes_choose_differently(resnet_task, parent):
    found = {mode: structural(resnet_task, parent, mode=mode)[1] for mode in ("isomorphic", "global", "local")}
    assert len({widths(record) for record in found.values()}) == 3


def test_a_uniform_network_says_by_how_much_it_misses(resnet_task, parent):
    """Eight channels can't lose just any share: one ratio for all leaves a gap, which is recorded."""
    _, record = structural(resnet_task, parent, mode="uniform", round_to=2)
    assert record["met"] == (abs(record["realised"] - 0.5) <= 0.005)
    shares = [1 - row["after"] / row["before"] for row in record["groups"]]
    assert max(shares) - min(shares) <= 2 / 8


@pytest.mark.parametrize("criterion", ["taylor", "taylor_abs_of_sum", "fisher", "l1", "l2", "random"])
def test_criteria_choose_differently_and_stored_statistics_change_nothing(resnet, resnet_task, parent, criterion):
    gather(resnet, resnet_task, 2).save(parent.with_name("statistics.safetensors"))
    with_file, record = structural(
        resnet_task, parent, criterion=criterion, statistics=parent.with_name("statistics.safetensors")
    )
    without, again = structural(resnet_task, parent, criterion=criterion)
    assert widths(record) == widths(again) and record["criterion"] == criterion
    assert all(torch.equal(a, b) for a, b in zip(with_file.parameters(), without.parameters(), strict=True))
    if criterion != "taylor":
        assert widths(record) != widths(structural(resnet_task, parent)[1])


def test_what_is_counted_changes_what_is_kept(resnet_task, parent):
    scores = [
        [row["score_deciles"] for row in structural(resnet_task, parent, count=count)[1]["groups"]]
        for count in ("all", "upstream")
    ]
    assert scores[0] != scores[1]


def test_rounds_lead_to_the_same_budget_with_new_statistics_each(resnet_task, parent, monkeypatch):
    gathered = []
    real = prune.gather
    monkeypatch.setattr(prune, "gather", lambda model, *args, **kw: gathered.append(model) or real(model, *args, **kw))
    _, record = structural(resnet_task, parent, rounds=3)
    assert len(gathered) == 3 and len({sum(p.numel() for p in model.parameters()) for model in gathered}) == 3
    shares = [each["macs"] / record["dense"]["macs"] for each in record["rounds"]]
    assert shares == pytest.approx([5 / 6, 4 / 6, 0.5], abs=0.01) and record["met"]
    assert {row["before"] for row in record["groups"]} == {8, 16, 32}


def test_rounds_of_a_transformer_end_with_the_ratios_of_one(vit, vit_task, tmp_path):
    """Iterative pruning of attention: layouts stay consistent, ratios refer to the dense network, the head stays."""
    save_weights(tmp_path / "dense.safetensors", vit.state_dict())
    budget = {"kind": "ratio", "value": 0.5}
    found = [
        structural(vit_task, tmp_path / "dense.safetensors", budget, rounds=rounds, head_dims=1.0)[1]
        for rounds in (1, 3)
    ]
    for kind in (0, 1):
        kept = [sum(row["heads"][1][kind] for row in record["groups"] if "heads" in row) for record in found]
        assert kept[0] == kept[1]
    assert sum(widths(found[0])[:1]) == sum(widths(found[1])[:1])
    model, _ = structural(vit_task, tmp_path / "dense.safetensors", budget, rounds=3, head_dims=1.0)
    vit_task.loss(model(vit_task.example), torch.tensor([1, 2])).backward()
    assert model.head.out_features == 10 and all(parameter.grad is not None for parameter in model.parameters())


def test_heads_go_without_head_dims(vit, vit_task, tmp_path):
    """Upstream removes no head at all when the ratio for head dimensions is zero."""
    save_weights(tmp_path / "dense.safetensors", vit.state_dict())
    model, _ = structural(
        vit_task, tmp_path / "dense.safetensors", {"kind": "ratio", "value": 0.4}, head_dims=0.0, criterion="l1"
    )
    assert [block.attn.head_dim for block in model.blocks] == [8, 8, 8]
    assert sum(block.attn.num_heads for block in model.blocks) == int(9 * 0.6)


def test_every_block_keeps_a_head(vit, vit_task, tmp_path):
    """Nearly everything is to go: upstream ends with no heads at all."""
    save_weights(tmp_path / "dense.safetensors", vit.state_dict())
    most = {"kind": "ratio", "value": 0.97}
    model, record = structural(vit_task, tmp_path / "dense.safetensors", most, criterion="l1", head_dims=1.0)
    assert all(block.attn.num_heads == 1 for block in model.blocks)
    assert all(row["at_floor"] for row in record["groups"])


def test_every_group_keeps_its_floor(resnet_task, parent):
    """Nearly everything is to go: upstream leaves whole layers untouched."""
    most = {"kind": "ratio", "value": 0.97}
    model, record = structural(resnet_task, parent, most, mode="global", max_ratio=0.75)
    assert all(row["at_floor"] and row["after"] == row["before"] / 4 for row in record["groups"])
    assert model(resnet_task.example).shape == (2, 10)


def test_latency_is_measured_and_met_where_widths_allow(resnet_task, parent, monkeypatch):
    """The clock is real, so only what does not depend on its noise is asserted tightly."""
    monkeypatch.setattr(speed, "SECONDS", 0.1)
    model, record = structural(resnet_task, parent, {"kind": "latency", "value": 0.75}, latency_batch=256)
    figures = record["latency"]
    assert figures["batch"] == 256 and figures["threads"] == torch.get_num_threads() and figures["device"] == "cpu"
    assert figures["share"] == record["realised"] == pytest.approx(figures["pruned_ms"] / figures["dense_ms"], rel=0.3)
    assert 0.4 < record["realised"] < 1.0 and macs(model, resnet_task.example) < record["dense"]["macs"]
    assert record["met"] == (abs(record["realised"] - 0.75) <= 0.0075)


def test_a_batch_to_time_is_refused_where_nothing_is_timed(resnet_task, parent):
    with pytest.raises(MethodError, match="latency_batch is for latency budgets, not macs"):
        structural(resnet_task, parent, latency_batch=4)


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
    model, record = structural(vit_task, tmp_path / "dense.safetensors", criterion="l1")
    rows = {row["name"]: row for row in record["groups"] if "heads" in row}
    assert len(rows) == 3
    for index, block in enumerate(model.blocks):
        row = rows[f"blocks.{index}.attn.qkv"]
        assert row["heads"] == [[3, 8], [block.attn.num_heads, block.attn.head_dim]]
        assert row["after"] == block.attn.attn_dim


def test_weights_of_another_network_are_refused(vit_task, parent):
    with pytest.raises(ArtefactError, match="not the weights of this run's network"):
        structural(vit_task, parent)


def test_diverged_weights_are_refused(resnet, resnet_task, tmp_path):
    resnet.fc.weight.data[0, 0] = float("nan")
    save_weights(tmp_path / "dense.safetensors", resnet.state_dict())
    with pytest.raises(MethodError, match="not finite"):
        structural(resnet_task, tmp_path / "dense.safetensors")


def test_zero_norms_do_not_stop_pruning(resnet, resnet_task, tmp_path):
    """Zero last norms give zero Taylor scores, which upstream turns into NaN: it leaves those groups whole."""
    for stage in resnet.stages:
        for block in stage:
            torch.nn.init.zeros_(block.bn2.weight)
    save_weights(tmp_path / "dense.safetensors", resnet.state_dict())
    _, record = structural(resnet_task, tmp_path / "dense.safetensors")
    assert all(row["after"] < row["before"] for row in record["groups"])
