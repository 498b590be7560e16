"""A run with sparse layers ends like a masked dense one, in weights of the same shapes; it resumes exactly."""

import json

import pytest
import torch

from prunelib.compact.sparse import network
from prunelib.config import load
from prunelib.errors import ConfigError
from prunelib.masks.mask import Mask
from prunelib.models.build import build
from prunelib.storage.checkpoint import Checkpointer
from prunelib.storage.hdf5 import load_history
from prunelib.storage.weights import load_weights
from prunelib.tasks.base import prunable
from prunelib.training.run import train_run
from tests.tiny import MODEL, recipe, settings, write_squares


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp("data") / "squares.h5")


@pytest.fixture(scope="module")
def mask(tmp_path_factory):
    """Half of the kernels of every layer but the last."""
    random = torch.Generator().manual_seed(0)
    weights = prunable(build(MODEL, 0, classes=3, in_channels=1))
    kept = {name: torch.rand(weight.shape[:2], generator=random) < 0.5 for name, weight in weights.items()}
    kept[list(kept)[-1]][:] = True
    tensors = {
        name: kept[name].view(*kept[name].shape, *[1] * (weight.dim() - 2)).expand_as(weight).clone()
        for name, weight in weights.items()
    }
    path = tmp_path_factory.mktemp("mask") / "mask.h5"
    Mask(tensors).save(path)
    return path


@pytest.fixture
def kernel(monkeypatch):
    """Let the compiled loops be the faster form of every layer, on every machine."""
    monkeypatch.setattr(network, "fastest", lambda layer, shape, training: "kernel")


def _train(data, mask, directory, sparse):
    names = {"weights": "weights.safetensors", "history": "history.h5", "metrics": "metrics.json"}
    outputs = {name: directory / file for name, file in names.items()}
    place = {"checkpoints": directory / "checkpoints", "checkpoint_seconds": 0.0, "device": "cpu"}
    given = {"mask": mask, "start": None, "structure": None}
    train_run(settings(recipe=recipe(sparse=sparse)), data, outputs, **given, **place)
    record = json.loads(outputs["metrics"].read_text())
    return record, load_weights(outputs["weights"]), load_history(outputs["history"])


def test_a_sparse_run_equals_a_masked_dense_one(data, mask, tmp_path, kernel, monkeypatch):
    dense, weights, history = _train(data, mask, tmp_path / "dense", "off")
    replaced = []
    monkeypatch.setattr(
        "prunelib.training.run.densify",
        lambda model: (replaced.extend(model.state_dict()), network.densify(model)),
    )
    sparse, found, columns = _train(data, mask, tmp_path / "sparse", "auto")
    assert [name for name in replaced if name.endswith("edges")] == [
        f"{name}.edges" for name in ("features.0", "features.4", "classifier.0")
    ]
    assert {name: tensor.shape for name, tensor in found.items()} == {n: t.shape for n, t in weights.items()}
    for name, kept in Mask.load(mask).items():
        assert not found[name][~kept].any() and found[name][kept].all()
        assert torch.allclose(found[name], weights[name], atol=1e-4)
    assert list(columns.columns["loss"]) == pytest.approx(list(history.columns["loss"]), abs=1e-4)
    sizes = [key for key in dense["metrics"] if key.startswith(("density", "macs", "param", "kept", "prunable"))]
    assert {key: sparse["metrics"][key] for key in sizes} == {key: dense["metrics"][key] for key in sizes}


def test_a_stopped_sparse_run_goes_on_in_the_same_forms(data, mask, tmp_path, monkeypatch):
    monkeypatch.setattr(network, "fastest", lambda layer, shape, training: "kernel")
    _, straight, _ = _train(data, mask, tmp_path / "straight", "auto")
    save = Checkpointer.save

    def stop(self, state):
        save(self, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpointer, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        _train(data, mask, tmp_path / "stopped", "auto")
    monkeypatch.setattr(Checkpointer, "save", save)
    monkeypatch.setattr(network, "fastest", lambda layer, shape, training: "dense")  # another day's measurement
    _, resumed, _ = _train(data, mask, tmp_path / "stopped", "auto")
    assert all(torch.equal(tensor, straight[name]) for name, tensor in resumed.items())


def test_sparse_layers_can_not_leak():
    fields = {"loop": "classify", "sparse": "auto", "enforce": "leaky"}
    raw = {"tasks": {}, "recipes": {"train": fields}, "grid": {}}
    with pytest.raises(ConfigError, match=r"recipes\.train.*sparse"):
        load(raw)
