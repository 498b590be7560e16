"""Pruning by trained magnitude: exactly the number asked for, the largest of all layers together."""

import pytest
import torch

from prunelib.errors import ArtefactError
from prunelib.methods.deep_compression import trained_magnitude
from prunelib.seeds import generator
from prunelib.storage.weights import save_weights
from prunelib.tasks.base import prunable
from prunelib.tasks.classify import Classify
from tests.tiny import MODEL, write_squares


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return Classify(write_squares(tmp_path_factory.mktemp("data") / "squares.h5"), MODEL, 0)


@pytest.fixture
def trained(task, tmp_path):
    """Weights that are not the initial ones, with norms far larger than any weight."""
    model = task.build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator(1, "test")))
        model.features[1].weight.fill_(100.0)
    path = tmp_path / "weights.safetensors"
    save_weights(path, model.state_dict())
    return model, path


@pytest.mark.parametrize("density", [0.5, 0.031, 1.0])
def test_the_largest_trained_weights_are_kept(task, trained, density):
    model, path = trained
    mask = trained_magnitude(task, {"kind": "density", "value": density}, generator(0, "search"), parent=path)
    assert list(mask) == list(prunable(task.build()))
    assert mask.kept == int(density * mask.size)
    weights = torch.cat([weight.detach().abs().flatten() for weight in prunable(model).values()])
    flags = torch.cat([bits.flatten() for bits in mask.values()])
    if density < 1:
        assert weights[flags].min() > weights[~flags].max()


def test_equal_magnitudes_are_ranked_by_the_generator(task, tmp_path):
    model = task.build()
    with torch.no_grad():
        for weight in prunable(model).values():
            weight.copy_(weight.sign())
    save_weights(tmp_path / "w.safetensors", model.state_dict())

    def found(seed):
        budget = {"kind": "density", "value": 0.5}
        mask = trained_magnitude(task, budget, generator(seed, "search"), parent=tmp_path / "w.safetensors")
        return torch.cat([bits.flatten() for bits in mask.values()])

    assert torch.equal(found(0), found(0)) and not torch.equal(found(0), found(1))


def test_weights_of_another_network_are_refused(task, trained, tmp_path):
    state = trained[0].state_dict()
    state["features.0.weight"] = torch.zeros(4, 1, 3, 3)
    save_weights(tmp_path / "other.safetensors", state)
    with pytest.raises(ArtefactError, match=r"features\.0\.weight"):
        trained_magnitude(
            task, {"kind": "density", "value": 0.5}, generator(0, "search"), parent=tmp_path / "other.safetensors"
        )
