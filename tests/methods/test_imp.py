"""Iterative magnitude pruning: the published integers, survivors only, exact counts, clear refusals."""

from math import ceil

import pytest
import torch

from prunelib.errors import ArtefactError, MethodError
from prunelib.methods.imp import imp
from prunelib.seeds import generator
from prunelib.storage.weights import load_weights, save_weights
from prunelib.tasks.base import alive, prunable
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
    return imp(task, {"kind": "density", "value": density}, generator(0, "search"), parent=parent, **options).mask


def chain(task, folder, cuts, **options):
    """Yield the masks of a whole chain, each round's weights made up where its mask keeps them and zero elsewhere."""
    random, parent, budget = torch.Generator().manual_seed(3), None, {"kind": "full", "value": None}
    for number in range(cuts + 1):
        mask = imp(task, budget, generator(0, "search"), parent=parent, **options).mask
        yield mask
        parent = folder / f"round{number}.safetensors"
        trained = {name: (torch.rand(kept.shape, generator=random) + 0.1) * kept for name, kept in mask.items()}
        save_weights(parent, trained)
        budget = {"kind": "density", "value": (1 - options["cut"]) ** (number + 1)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cut", "left"),
    [
        (0.2, [
            3_006_771, 2_405_416, 1_924_332, 1_539_465, 1_231_572, 985_257, 788_205,
            630_564, 504_451, 403_560, 322_848, 258_278, 206_622, 165_297,
        ]),
        (0.8, [3_006_771, 601_354, 120_270]),
    ],
)  # fmt: skip
def test_the_published_schedule_is_exact(tmp_path, cut, left):
    """The masks of all rounds on the published network: every integer of the authors' logs."""
    picture = write_picture(tmp_path / "picture.h5", 192, 192)
    task = denoise(picture, model={"builder": "hourglass", "options": {}})
    masks = chain(task, tmp_path, len(left) - 1, cut=cut, fidelity="upstream")
    assert [mask.kept for mask in masks] == left


def test_a_round_as_the_authors_cut_it(task, tmp_path):
    """Norm biases, zero at first, are out from the start; each round cuts a share of what is left, smallest first."""
    first, second, third = chain(task, tmp_path, 2, cut=0.3, fidelity="upstream")
    parameters = dict(task.build().named_parameters())
    assert list(first) == list(parameters)
    assert all(torch.equal(first[name], parameters[name] != 0) for name in parameters)
    assert not any(first[name].any() for name in first if "bn" in name and name.endswith("bias"))
    counts = [first.kept, second.kept, third.kept]
    assert counts == [counts[0], counts[0] - ceil(0.3 * counts[0]), counts[1] - ceil(0.3 * counts[1])]
    trained = load_weights(tmp_path / "round1.safetensors")
    kept = torch.cat([trained[name].abs()[third[name]] for name in third])
    gone = torch.cat([trained[name].abs()[second[name] & ~third[name]] for name in third])
    assert kept.min() > gone.max() and all((third[name] <= second[name]).all() for name in third)


def test_a_cut_of_a_dense_network_counts_every_weight(task, trained):
    _, parent = trained
    mask = find(task, parent, 0.8, cut=0.2)
    assert list(mask) == list(prunable(task.build())) and mask.kept == mask.size - ceil(0.2 * mask.size)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fidelity": "upstream"}, "Set cut"),
        ({"cut": 1.0}, "0 < cut < 1"),
        ({"fidelity": "upstream", "cut": 0.2, "prune": "weights"}, "'prune' says weights"),
        ({"fidelity": "upstream", "cut": 0.2, "repair": "layer"}, "'repair' says layer"),
    ],
)
def test_options_that_contradict_are_refused(task, trained, options, words):
    with pytest.raises(MethodError, match=words):
        find(task, trained[1], 0.2, **options)


def test_a_first_round_without_weights_exists_upstream_only(task):
    with pytest.raises(MethodError, match="trained weights of an earlier run"):
        find(task, None, 0.2)


@pytest.mark.parametrize("repair", ["layer", "weights"])
def test_a_dead_round_is_repaired_from_what_was_left(tmp_path, repair):
    """One norm's trained weights are the smallest, so that a cut takes them all; what was pruned does not come back."""
    task = denoise(write_picture(tmp_path / "picture.h5"))
    random = torch.Generator().manual_seed(1)
    state = {name: torch.randn(tensor.shape, generator=random) for name, tensor in task.build().named_parameters()}
    state["decoder.level0.bn.weight"] *= 1e-6
    half = {name: (torch.rand(t.shape, generator=random) < 0.5) | (t.dim() == 1) for name, t in state.items()}
    save_weights(tmp_path / "trained.safetensors", {name: state[name] * half[name] for name in state})
    parent, options = tmp_path / "trained.safetensors", {"prune": "all", "cut": 0.3}
    dead = find(task, parent, 0.35, **options)
    assert not alive(task, task.build(), dead).alive
    found = imp(
        task, {"kind": "density", "value": 0.35}, generator(0, "search"), parent=parent, repair=repair, **options
    )
    assert alive(task, task.build(), found.mask).alive and found.figures["repaired"]
    assert all((found.mask[name] <= half[name]).all() for name in found.mask)
    if repair == "layer":
        assert found.mask.kept == dead.kept
    else:
        assert list(found.mask) == list(prunable(task.build()))
        assert found.mask.kept == int(0.35 * found.mask.size)


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
