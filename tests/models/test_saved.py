"""Networks from files: what a run leaves, a saved structure and a shrunk folder load; pickles are refused."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import prunelib
from prunelib.errors import ArtefactError, ConfigError
from prunelib.models.build import build
from prunelib.models.structure import save_structure
from prunelib.storage.checkpoint import Checkpointer
from prunelib.storage.files import write_json
from prunelib.storage.weights import load_weights, save_weights

MODEL = {"builder": "resnet_small", "options": {"width": 8, "blocks": 1}}
FACTS = {"classes": 4, "in_channels": 1}
EXAMPLE = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8)


def structure(folder: Path, seed: int = 3) -> torch.nn.Module:
    model = build(MODEL, seed, **FACTS)
    save_structure(model, {"model": MODEL, "facts": FACTS}, folder / "pruned.safetensors", folder / "pruned.json")
    return model.eval()


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    with torch.no_grad():
        return torch.equal(first(EXAMPLE), second(EXAMPLE))


@pytest.mark.parametrize("name", ["", "pruned.safetensors", "pruned.json"])
def test_saved_structure_loads_ready_to_use(tmp_path, name):
    model = structure(tmp_path)
    again = prunelib.load(tmp_path / name)
    assert not again.training and same(model, again)


@pytest.mark.parametrize("name", ["", "weights.safetensors", "metrics.json"])
def test_dense_run_loads_by_its_settings(tmp_path, name):
    model = build(MODEL, 5, **FACTS).eval()
    save_weights(tmp_path / "weights.safetensors", model.state_dict())
    write_json(tmp_path / "metrics.json", {"settings": {"model": MODEL, "seed": 0}, "facts": FACTS})
    assert same(model, prunelib.load(tmp_path / name))


def test_pruned_run_loads_its_fine_tuned_weights(tmp_path):
    structure(tmp_path)
    tuned = build(MODEL, 9, **FACTS).eval()
    save_weights(tmp_path / "weights.safetensors", tuned.state_dict())
    write_json(tmp_path / "metrics.json", {"settings": {"model": MODEL, "seed": 0}, "facts": FACTS})
    assert same(tuned, prunelib.load(tmp_path))
    assert not same(tuned, prunelib.load(tmp_path / "pruned.safetensors"))


def test_older_run_says_that_it_lacks_something(tmp_path):
    save_weights(tmp_path / "weights.safetensors", build(MODEL, 5, **FACTS).state_dict())
    write_json(tmp_path / "metrics.json", {"settings": {"model": MODEL, "seed": 0}})
    with pytest.raises(ArtefactError, match="does not say what network this is"):
        prunelib.load(tmp_path)


def test_weights_of_another_network_are_refused_in_few_words(tmp_path):
    """Found by fuzzing: torch names every tensor that is missing."""
    save_weights(tmp_path / "weights.safetensors", build(MODEL, 5, **FACTS).state_dict())
    deep = {**MODEL, "options": {"width": 8, "blocks": 50}}
    write_json(tmp_path / "metrics.json", {"settings": {"model": deep, "seed": 0}, "facts": FACTS})
    with pytest.raises(ArtefactError, match="not the weights of the network") as caught:
        prunelib.load(tmp_path)
    assert len(str(caught.value)) < 1000


def test_missing_and_ambiguous_are_refused(tmp_path):
    with pytest.raises(ArtefactError, match="no such file"):
        prunelib.load(tmp_path / "nothing")
    with pytest.raises(ArtefactError, match="not one saved network"):
        prunelib.load(tmp_path)


def test_saved_network_is_a_model_of_its_classes_only(tmp_path):
    structure(tmp_path)
    model = {"builder": "saved", "options": {"location": str(tmp_path / "pruned.safetensors")}}
    assert same(structure(tmp_path), build(model, 0, **FACTS).eval())
    with pytest.raises(ConfigError, match="network for 4 classes and 1 channels; here are 10 classes"):
        build(model, 0, classes=10, in_channels=1)


class Malicious:
    """Unpickled, it would make a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("name", ["m.pth", "m.pt", "m.safetensors", "m.json", "weights.safetensors", "metrics.json"])
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_malicious_pickle_is_never_run(tmp_path, name, form):
    marker, path = tmp_path / "ran", tmp_path / name
    evil = {"model": Malicious(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, path)
    for read in (prunelib.load, load_weights):
        with pytest.raises(ArtefactError):
            read(path)
    (tmp_path / "state.ckpt").write_bytes(path.read_bytes())
    assert Checkpointer(tmp_path, 1.0, "x").load() is None
    assert not marker.exists()
    pickle.loads(pickle.dumps(evil))  # the file would have run
    assert marker.exists()


def test_loading_is_offered_without_torch():
    code = "import prunelib, sys; prunelib.load; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(prunelib.__file__).parents[1])


def test_record_of_a_trained_run_has_what_loading_needs(tmp_path):
    """The trained run's own metrics.json, not one made up here."""
    from prunelib.training.run import train_run
    from tests.tiny import recipe, settings, write_squares

    outputs = {name: tmp_path / file for name, file in (("weights", "weights.safetensors"), ("history", "history.h5"))}
    outputs["metrics"] = tmp_path / "metrics.json"
    plain = settings(recipe=recipe(epochs=1), method={"uses": "dense", "options": {}})
    data = write_squares(tmp_path / "data.h5")
    where = {"mask": None, "start": None, "structure": None, "checkpoints": tmp_path / "work"}
    train_run(plain, data, outputs, **where, checkpoint_seconds=60.0, device="cpu")
    assert json.loads(outputs["metrics"].read_text())["facts"] == {"classes": 3, "in_channels": 1}
    state = prunelib.load(tmp_path).state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in load_weights(outputs["weights"]).items())
