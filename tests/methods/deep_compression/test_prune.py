"""Pruning by trained magnitude, of all layers together or in deviations of each: exactly what was asked for."""

import pytest
import torch

from prunelib.errors import ArtefactError, MethodError
from prunelib.methods.deep_compression.prune import trained_magnitude, trained_sensitivity
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


FULL = {"kind": "full", "value": None}


@pytest.mark.parametrize("sensitivity", [0.25, 0.67, 2.0])
def test_every_layer_has_a_threshold_of_its_own(task, trained, sensitivity):
    model, path = trained
    with torch.no_grad():
        model.features[0].weight.mul_(50)  # one global threshold would keep all of it
    save_weights(path, model.state_dict())
    mask = trained_sensitivity(task, FULL, generator(0, "search"), parent=path, sensitivity=sensitivity).mask
    for name, weight in prunable(model).items():
        threshold = sensitivity * weight.detach().double().std(correction=0)
        assert torch.equal(mask[name], weight.detach().double().abs() >= threshold)
    assert 0 < mask.density < 1


def test_a_density_finds_the_sensitivity_that_keeps_just_so_many(task, trained):
    found = trained_sensitivity(task, {"kind": "density", "value": 0.3}, generator(0, "search"), parent=trained[1])
    assert found.mask.kept == int(0.3 * found.mask.size)
    sensitivity = found.figures["sensitivity"]
    again = trained_sensitivity(task, FULL, generator(0, "search"), parent=trained[1], sensitivity=sensitivity).mask
    assert all(torch.equal(found.mask[name], again[name]) for name in again)


@pytest.mark.parametrize(("budget", "options"), [("density", {"sensitivity": 1.0}), ("full", {})])
def test_sensitivity_and_density_do_not_go_together(task, trained, budget, options):
    wanted = {"kind": budget, "value": 0.3 if budget == "density" else None}
    with pytest.raises(MethodError, match="sensitivity"):
        trained_sensitivity(task, wanted, generator(0, "search"), parent=trained[1], **options)


def test_a_layer_of_equal_weights_has_no_deviation(task, tmp_path):
    model = task.build()
    with torch.no_grad():
        model.features[0].weight.fill_(0.5)
    save_weights(tmp_path / "w.safetensors", model.state_dict())
    with pytest.raises(MethodError, match=r"'features\.0\.weight' are all equal"):
        trained_sensitivity(task, FULL, generator(0, "search"), parent=tmp_path / "w.safetensors", sensitivity=1.0)
