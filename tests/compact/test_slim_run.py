"""The slim step on image generators: a smaller network on disk, its cost and the time of a step; dead ones stay."""

import json

import torch
from torch import nn

from prunelib.compact.slim import slim_run
from prunelib.masks.mask import Mask
from prunelib.measure.cost import macs, parameters
from prunelib.models.build import build
from prunelib.models.structure import load_structure
from prunelib.recipes import FitRecipe
from prunelib.storage.weights import load_weights
from prunelib.training.run import train_run
from tests.picture import MODEL, SIDE, write_picture

SETTINGS = {
    "run": {"paper": "oes", "task": "t", "model": "m", "method": "g", "budget": "density0.5", "seed": 0},
    "task": {"kind": "denoise", "options": {"sigma": 0.1}},
    "model": MODEL,
    "recipe": FitRecipe(loop="fit_image", steps=4, log_every=2).model_dump(),
    "seed": 0,
    "scale": "quick",
}


def _slimmed(directory, scale_kept):
    """Train under a mask that keeps each norm's first channels, as far as ``scale_kept`` says, and slim the run."""
    data, model = write_picture(directory / "picture.h5"), build(MODEL, 0)
    tensors = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            tensors[f"{name}.weight"] = torch.arange(len(layer.weight)) < scale_kept * len(layer.weight)
            tensors[f"{name}.bias"][:] = False
    Mask(tensors).save(directory / "mask.h5")
    run = {"weights": "weights.safetensors", "history": "history.h5", "metrics": "metrics.json"}
    run = {name: directory / file for name, file in run.items()}
    places = {"checkpoints": directory / "checkpoints", "checkpoint_seconds": 60.0, "device": "cpu"}
    train_run(SETTINGS, data, run, mask=directory / "mask.h5", start=None, structure=None, **places)
    slim = {"weights": directory / "slim.safetensors", "record": directory / "slim.json"}
    slim_run(SETTINGS, data, run | {"mask": directory / "mask.h5"}, slim)
    dense = build(MODEL, 0)
    dense.load_state_dict(load_weights(run["weights"]))
    return dense, load_structure(slim["weights"]), json.loads(slim["record"].read_text())


def test_a_masked_generator_is_slimmed_and_timed(tmp_path):
    dense, network, record = _slimmed(tmp_path, 0.5)
    example = torch.rand(1, 32, SIDE, SIDE)
    assert record["status"] == "ok" and record["why"] == ""
    assert record["dense"] == {"parameters": parameters(dense), "macs": macs(dense, example)}
    assert record["slim"] == {"parameters": parameters(network), "macs": macs(network, example)}
    assert record["slim"]["parameters"] < 0.5 * record["dense"]["parameters"]
    timing = record["timing"]
    assert timing["dense_step_ms"] > 0 and timing["slim_step_ms"] > 0
    assert (timing["threads"], timing["device"]) == (torch.get_num_threads(), "cpu")
    with torch.no_grad():
        for mode in (True, False):
            torch.testing.assert_close(network.train(mode)(example), dense.train(mode)(example), rtol=0, atol=1e-5)


def test_a_dead_generator_is_stored_whole_and_said_to_be_dead(tmp_path):
    dense, network, record = _slimmed(tmp_path, 0.0)
    assert record["status"] == "dead" and "does not depend on the input" in record["why"]
    assert record["slim"] is None and record["timing"] is None
    assert record["dense"]["parameters"] == parameters(dense) == parameters(network)
    assert all(torch.equal(tensor, dense.state_dict()[name]) for name, tensor in network.state_dict().items())
