"""Iterative magnitude pruning: the published integers, survivors only, exact counts, clear refusals."""

import pytest
import torch

from prunelib.errors import ArtefactError, MethodError
from prunelib.methods.imp import imp, survivors
from prunelib.seeds import generator
from prunelib.storage.weights import save_weights
from tests.picture import denoise, write_picture


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return denoise(write_picture(tmp_path_factory.mktemp("data") / "picture.h5"))


@pytest.fixture
def trained(task, tmp_path):
    """Weights that a dense training might have left, and where they are stored."""
    random = torch.Generator().manual_seed(1)
    state = {name: torch.randn(tensor.shape, generator=random) for name, tensor in task.build().named_parameters()}
    save_weights(tmp_path / "round0.safetensors", state)
    return state, tmp_path / "round0.safetensors"


def find(task, parent, density, **options):
    return imp(task, {"kind": "density", "value": density}, generator(0, "search"), parent=parent, **options)


def test_the_published_schedule_is_exact():
    assert survivors(3_006_771, 0.2, 13) == [
        3_006_771, 2_405_416, 1_924_332, 1_539_465, 1_231_572, 985_257, 788_205,
        630_564, 504_451, 403_560, 322_848, 258_278, 206_622, 165_297,
    ]  # fmt: skip
    assert survivors(3_006_771, 0.8, 2)[-1] == 120_270


@pytest.mark.parametrize("prune", ["weights", "all"])
def test_the_largest_trained_weights_of_the_whole_network_stay(task, trained, prune):
    state, parent = trained
    mask = find(task, parent, 0.2, prune=prune)
    assert set(mask) == {name for name, tensor in state.items() if prune == "all" or tensor.dim() == 4}
    assert mask.kept == int(0.2 * mask.size)
    kept = torch.cat([state[name].abs()[mask[name]] for name in mask])
    gone = torch.cat([state[name].abs()[~mask[name]] for name in mask])
    assert kept.min() > gone.max()


def test_a_round_keeps_only_what_the_round_before_it_kept(task, trained, tmp_path):
    state, parent = trained
    first = find(task, parent, 0.5)
    random = torch.Generator().manual_seed(2)
    again = {name: torch.randn(tensor.shape, generator=random) for name, tensor in state.items()}
    again |= {name: again[name] * mask for name, mask in first.items()}
    save_weights(tmp_path / "round1.safetensors", again)
    second = find(task, tmp_path / "round1.safetensors", 0.2)
    assert second.kept == int(0.2 * second.size)
    assert all((second[name] <= first[name]).all() for name in second)


def test_more_than_is_left_is_refused(task, trained, tmp_path):
    state, parent = trained
    sparse = {**state, **{name: state[name] * mask for name, mask in find(task, parent, 0.2).items()}}
    save_weights(tmp_path / "round1.safetensors", sparse)
    with pytest.raises(MethodError, match=r"weights are left; a density of 0\.3 asks for"):
        find(task, tmp_path / "round1.safetensors", 0.3)


def test_foreign_weights_are_refused(task, tmp_path):
    save_weights(tmp_path / "other.safetensors", {"encoder.level0.conv1.weight": torch.zeros(2, 2)})
    with pytest.raises(ArtefactError, match=r"encoder\.level0\.conv1\.weight"):
        find(task, tmp_path / "other.safetensors", 0.3)
