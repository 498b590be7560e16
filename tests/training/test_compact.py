"""A recipe with ``compact``: the run trains a smaller network, and leaves what masked training would have left."""

import json

import pytest
import torch
from torch import nn

from prunelib.config import load
from prunelib.errors import ConfigError, MethodError
from prunelib.masks.mask import Mask
from prunelib.models.build import build
from prunelib.recipes import FitRecipe
from prunelib.storage.checkpoint import Checkpointer
from prunelib.storage.hdf5 import load_history
from prunelib.storage.weights import load_weights
from prunelib.training import run
from prunelib.training.run import train_run
from tests.picture import MODEL, write_picture

STEPS = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_picture(tmp_path_factory.mktemp("data") / "picture.h5")


@pytest.fixture(scope="module")
def mask(tmp_path_factory):
    """Half of each norm's channels are shut for ever, the first and the last level's stay."""
    path = tmp_path_factory.mktemp("masks") / "mask.h5"
    random, model = torch.Generator().manual_seed(0), build(MODEL, 0)
    tensors = {name: torch.rand(p.shape, generator=random) < 0.5 for name, p in model.named_parameters()}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            tensors[f"{name}.weight"] = torch.arange(len(layer.weight)) % 2 == 0
            tensors[f"{name}.bias"][:] = False
        elif isinstance(layer, nn.Conv2d) and name != "head":
            tensors[f"{name}.bias"][:] = False
    Mask(tensors).save(path)
    return path


def settings(compact):
    return {
        "run": {"paper": "oes", "task": "t", "model": "m", "method": "g", "budget": "density0.5", "seed": 0},
        "task": {"kind": "denoise", "options": {"sigma": 0.1}},
        "model": MODEL,
        "recipe": FitRecipe(loop="fit_image", steps=STEPS, log_every=4, compact=compact).model_dump(),
        "seed": 0,
        "scale": "quick",
    }


def train(directory, data, mask, compact, seconds=1000.0):
    names = {"weights": "weights.safetensors", "history": "history.h5", "metrics": "metrics.json"}
    outputs = {name: directory / file for name, file in names.items()}
    places = {"checkpoints": directory / "checkpoints", "checkpoint_seconds": seconds, "device": "cpu"}
    train_run(settings(compact), data, outputs, mask=mask, start=None, structure=None, **places)
    weights, record = load_weights(outputs["weights"]), json.loads(outputs["metrics"].read_text())
    return weights, load_history(outputs["history"]).columns, record


def test_a_compact_run_leaves_what_a_masked_one_does(data, mask, tmp_path, monkeypatch):
    small = []
    monkeypatch.setattr(run, "shrunk", lambda *given, cut=run.shrunk: small.append(cut(*given)) or small[-1])
    plain, first, masked = train(tmp_path / "plain", data, mask, False)
    assert not small
    weights, second, compact = train(tmp_path / "compact", data, mask, True)
    assert len(small) == 1 and len(small[0].network.encoder.level1.conv1.weight) == 4
    kept = Mask.load(mask)
    for name, tensor in weights.items():
        assert tensor.shape == plain[name].shape
        if name in kept:
            assert (tensor[~kept[name]] == 0).all()
            torch.testing.assert_close(tensor, plain[name], rtol=0, atol=0.02)  # two steps of 12
    assert second["loss"] == pytest.approx(first["loss"], rel=1e-3)
    assert second["psnr"][-1] > second["psnr"][0]
    sizes = ("kept", "parameters", "parameters_compact", "macs_compact", "density")
    assert [compact["metrics"][name] for name in sizes] == [masked["metrics"][name] for name in sizes]


def test_a_killed_compact_run_goes_on_with_the_same_bits(data, mask, tmp_path, monkeypatch):
    straight, columns, _ = train(tmp_path / "straight", data, mask, True)
    save = Checkpointer.save

    def stop(self, state):
        save(self, state)
        if state["step"] == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpointer, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", data, mask, True, seconds=0.0)
    monkeypatch.undo()
    resumed, again, _ = train(tmp_path / "killed", data, mask, True)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in straight.items())
    assert list(columns["loss"]) == list(again["loss"]) and list(columns["psnr"]) == list(again["psnr"])


def test_a_network_that_cannot_be_cut_is_trained_whole(data, mask, tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise MethodError("not this one")

    plain, _, _ = train(tmp_path / "plain", data, mask, False)
    monkeypatch.setattr(run, "shrunk", refuse)
    whole, _, _ = train(tmp_path / "whole", data, mask, True)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in plain.items())
    assert "trained at full size: not this one" in caplog.text


def test_a_mask_that_leaves_everything_alive_changes_nothing(data, tmp_path):
    model = build(MODEL, 0)
    Mask.ones(dict(model.named_parameters())).save(tmp_path / "ones.h5")
    plain, _, _ = train(tmp_path / "plain", data, tmp_path / "ones.h5", False)
    compact, _, _ = train(tmp_path / "compact", data, tmp_path / "ones.h5", True)
    assert all(torch.equal(tensor, compact[name]) for name, tensor in plain.items())


def test_noise_on_the_weights_can_not_be_compact():
    raw = {"tasks": {}, "grid": {}, "recipes": {"r": {"loop": "fit_image", "compact": True, "weight_noise": 0.1}}}
    with pytest.raises(ConfigError, match=r"recipes\.r.*draws other weight_noise"):
        load(raw)
