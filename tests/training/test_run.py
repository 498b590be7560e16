"""The train step: what it writes, for dense, masked, dead, started, structural and searching runs; and its resume."""

import json
import math
import os
import signal

import h5py
import pytest
import torch
from torch import nn

from prunelib import registry
from prunelib.errors import ArtefactError, ConfigError
from prunelib.masks.mask import Mask
from prunelib.methods.callbacks import Callback
from prunelib.models.build import build
from prunelib.models.structure import save_structure
from prunelib.storage.hdf5 import load_history
from prunelib.storage.weights import load_weights, save_weights
from prunelib.tasks.base import open_task, prunable
from prunelib.training.run import train_run
from tests.tiny import LEARNS_FAST, MODEL, recipe, settings, write_squares

FACTS = {"classes": 3, "in_channels": 1}
ACCURACY = {"top1", "top3", "top5", "loss", "val_top1", "val_loss"}
SIZE = {"kept", "prunable", "parameters", "parameters_kept", "parameters_compact", "macs", "macs_kept", "macs_compact"}
DENSITY = {"density", "density_all", "density_compact", "density_nonzero"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp("data") / "squares.h5")


def _train(described, data, directory, **inputs):
    names = {"weights": "weights.safetensors", "history": "history.h5", "metrics": "metrics.json"}
    outputs = {name: directory / file for name, file in names.items()}
    if "method" in described:
        outputs["mask"] = directory / "mask.h5"
    given = {"mask": None, "start": None, "structure": None} | inputs
    place = {"checkpoints": directory / "checkpoints", "checkpoint_seconds": 0.0, "device": "cpu"}
    train_run(described, data, outputs, **given, **place)
    return json.loads(outputs["metrics"].read_text()), load_weights(outputs["weights"])


def _save_mask(path, density=0.5, model=MODEL):
    random = torch.Generator().manual_seed(0)
    weights = prunable(build(model, 0, **FACTS))
    mask = Mask({name: torch.rand(w.shape, generator=random) < density for name, w in weights.items()})
    mask.save(path)
    return mask


def test_a_dense_run(data, tmp_path):
    record, weights = _train(settings(), data, tmp_path)
    assert record["run"]["path"] == "expanders/squares/tiny/m/full/seed0"
    assert (record["status"], record["why"], record["scale"]) == ("ok", "", "quick")
    assert record["settings"]["recipe"]["optimizer"] == "sgd" and record["settings"]["seed"] == 0
    assert set(record["metrics"]) == ACCURACY | SIZE | DENSITY
    assert {record["metrics"][name] for name in DENSITY} == {1.0}
    assert record["timing"]["steps"] == 16 and record["timing"]["step_ms"] > 0
    assert record["timing"]["wall_s"] > 0 and record["timing"]["peak_rss_mb"] > 50
    assert set(record["provenance"]["inputs"]) == {"data"}
    assert set(weights) == set(build(MODEL, 0, **FACTS).state_dict())
    assert load_history(tmp_path / "history.h5").columns["epoch"].tolist() == [1, 2, 3, 4]
    assert {path.name for path in tmp_path.iterdir()} == {"weights.safetensors", "history.h5", "metrics.json"}


def test_equal_runs_write_equal_bytes(data, tmp_path):
    first, _ = _train(settings(), data, tmp_path / "a")
    second, _ = _train(settings(), data, tmp_path / "b")
    assert first["metrics"] == second["metrics"]
    for name in ("weights.safetensors", "history.h5"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_masked_run_stays_sparse(data, tmp_path):
    mask = _save_mask(tmp_path / "mask.h5")
    record, weights = _train(settings(), data, tmp_path, mask=tmp_path / "mask.h5")
    assert all(not weights[name][~kept].any() for name, kept in mask.items())
    metrics = record["metrics"]
    assert (metrics["kept"], metrics["prunable"]) == (mask.kept, mask.size)
    assert metrics["density"] == metrics["density_nonzero"] == mask.density
    assert metrics["parameters_kept"] == metrics["parameters"] - (mask.size - mask.kept)
    assert metrics["macs_kept"] < metrics["macs"]


def test_a_search_s_figures_become_metrics_and_a_repair_a_text(data, tmp_path):
    mask = _save_mask(tmp_path / "mask.h5")
    assert _train(settings(), data, tmp_path, mask=tmp_path / "mask.h5")[0]["repaired"] == ""
    mask.save(tmp_path / "mask.h5", figures=json.dumps({"threshold": -2.5, "loss_det": math.nan, "repaired": "so"}))
    record, _ = _train(settings(), data, tmp_path, mask=tmp_path / "mask.h5")
    found = {name: value for name, value in record["metrics"].items() if name.startswith("search_")}
    assert found == {"search_threshold": -2.5, "search_loss_det": None} and record["repaired"] == "so"


def test_leaky_enforcement_shows_in_the_non_zero_density(data, tmp_path):
    mask = _save_mask(tmp_path / "mask.h5")
    described = settings(recipe=recipe(enforce="leaky", epochs=1))
    metrics = _train(described, data, tmp_path, mask=tmp_path / "mask.h5")[0]["metrics"]
    assert metrics["density"] == mask.density and metrics["density_nonzero"] == 1.0


def test_bfloat16_is_said_in_the_record(data, tmp_path):
    assert _train(settings(recipe=recipe(epochs=1)), data, tmp_path / "a")[0]["arithmetic"] == "float32"
    assert _train(settings(recipe=recipe(epochs=1, amp="bf16")), data, tmp_path / "b")[0]["arithmetic"] == "bfloat16"


def test_initial_weights_can_be_of_the_effective_fan(data, tmp_path):
    mask = _save_mask(tmp_path / "mask.h5")
    _, plain = _train(settings(recipe=recipe(epochs=0)), data, tmp_path / "a", mask=tmp_path / "mask.h5")
    larger = settings(recipe=recipe(epochs=0, init="effective_fan"))
    _, scaled = _train(larger, data, tmp_path / "b", mask=tmp_path / "mask.h5")
    for name, kept in mask.items():
        assert torch.allclose(scaled[name], plain[name] * (kept.numel() / kept.sum()).sqrt(), rtol=1e-6)
    with pytest.raises(ConfigError, match=r"effective_fan .* starts from trained ones"):
        _train(larger, data, tmp_path / "c", start=tmp_path / "a" / "weights.safetensors")


def test_a_dead_mask_is_not_trained(data, tmp_path):
    mask = _save_mask(tmp_path / "mask.h5")
    mask["features.0.weight"][:] = False
    mask.save(tmp_path / "mask.h5")
    record, weights = _train(settings(), data, tmp_path, mask=tmp_path / "mask.h5")
    assert record["status"] == "dead" and "nothing is kept of features.0.weight" in record["why"]
    assert record["timing"]["steps"] == 0
    assert set(record["metrics"]) == SIZE | DENSITY and record["metrics"]["density_compact"] is None
    initial = build(MODEL, 0, **FACTS).state_dict()
    assert torch.equal(weights["classifier.3.weight"], initial["classifier.3.weight"] * mask["classifier.3.weight"])
    assert load_history(tmp_path / "history.h5").columns == {}


def test_a_run_that_starts_from_trained_weights_knows_how_good_they_were(data, tmp_path):
    good = settings(model=LEARNS_FAST, recipe=recipe(epochs=15))
    trained, _ = _train(good, data, tmp_path / "dense")
    again = settings(model=LEARNS_FAST, recipe=recipe(epochs=1, lr=1e-9, weight_decay=0.0))
    record, _ = _train(again, data, tmp_path / "again", start=tmp_path / "dense" / "weights.safetensors")
    assert record["metrics"]["top1_start"] == trained["metrics"]["top1"] == 1.0
    assert "top1_start" not in trained["metrics"]
    none = _save_mask(tmp_path / "mask.h5", 0.15, LEARNS_FAST)
    inputs = {"start": tmp_path / "dense" / "weights.safetensors", "mask": tmp_path / "mask.h5"}
    pruned, _ = _train(again, data, tmp_path / "pruned", **inputs)
    assert none.density < 0.3 and pruned["metrics"]["top1_start"] < 1.0


def test_weights_of_another_model_are_refused(data, tmp_path):
    save_weights(tmp_path / "other.safetensors", {"w": torch.zeros(2)})
    with pytest.raises(ArtefactError, match="not weights of this run's model"):
        _train(settings(), data, tmp_path, start=tmp_path / "other.safetensors")


def test_a_structurally_pruned_network_is_fine_tuned(data, tmp_path):
    smaller = {"builder": "vgg", "options": {**MODEL["options"], "plan": [4, "M", 8]}}
    record = {"model": smaller, "facts": FACTS}
    save_structure(build(smaller, 0, **FACTS), record, tmp_path / "pruned.safetensors", tmp_path / "pruned.json")
    written, weights = _train(settings(), data, tmp_path, structure=tmp_path / "pruned.safetensors")
    assert weights["features.0.weight"].shape == (4, 1, 3, 3)
    metrics = written["metrics"]
    assert metrics["kept"] == 4 * 9 + 8 * 4 * 9 + 8 * 8 + 3 * 8
    assert metrics["density_compact"] == metrics["parameters_kept"] / metrics["parameters"] < 1
    assert metrics["macs_compact"] < metrics["macs"] and metrics["top1_start"] is not None


class Halves(Callback):
    """Keeps the first half of every layer's outputs."""

    def __init__(self, task, budget, generator, *, extra):
        self.seen = (task.kind, budget["value"], extra)

    def finish(self, model: nn.Module):
        mask = Mask.ones(prunable(model))
        for kept in mask.values():
            kept[len(kept) // 2 :] = False
        mask.apply_(model)
        return mask

    def metrics(self, model):
        return {"extra": float(self.seen[2])}


def test_a_method_that_prunes_while_training(data, tmp_path, monkeypatch):
    entry, load = registry.entry, registry.load
    fake = registry.Entry("method", "halves", "", "", "", {"stage": "training"}, {})
    monkeypatch.setattr(
        registry, "entry", lambda kind, name, *rest: fake if name == "halves" else entry(kind, name, *rest)
    )
    monkeypatch.setattr(registry, "load", lambda kind, name: Halves if name == "halves" else load(kind, name))
    described = settings(method={"uses": "halves", "options": {"extra": 7}}, budget={"kind": "density", "value": 0.5})
    record, weights = _train(described, data, tmp_path)
    mask = Mask.load(tmp_path / "mask.h5")
    assert all(not weights[name][~kept].any() for name, kept in mask.items())
    assert record["metrics"]["density"] == mask.density and record["metrics"]["extra"] == 7.0


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(data, tmp_path, monkeypatch):
    straight, _ = _train(settings(), data, tmp_path / "straight")
    child = os.fork()
    if child == 0:
        steps = []

        def step(self, model, batch):
            steps.append(1)
            if len(steps) == 10:
                os.kill(os.getpid(), signal.SIGKILL)

        Callback.before_step = step
        _train(settings(), data, tmp_path / "killed")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["checkpoints"]
    resumed, _ = _train(settings(), data, tmp_path / "killed")
    assert resumed["metrics"] == straight["metrics"] and resumed["timing"]["steps"] == straight["timing"]["steps"]
    for name in ("weights.safetensors", "history.h5"):
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    assert not (tmp_path / "killed" / "checkpoints").exists()


def test_a_loss_that_is_no_number_becomes_null(data, tmp_path):
    record, _ = _train(settings(recipe=recipe(lr=1e30, epochs=2)), data, tmp_path)
    assert record["metrics"]["loss"] is None and record["status"] == "ok"


def test_a_file_that_is_no_data_set_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w"):
        pass
    with pytest.raises(ArtefactError):
        open_task(settings(), tmp_path / "other.h5")
