"""The find-a-mask step: it passes the method what it asks for and writes mask, history and liveness."""

import json

import h5py
import pytest
import torch

from prunelib import registry
from prunelib.errors import MethodError
from prunelib.masks.mask import Mask, read_figures
from prunelib.methods.common import Found
from prunelib.methods.dense import dense
from prunelib.methods.find import find_mask, search
from prunelib.tasks.base import open_task, prunable
from tests.tiny import settings, write_squares

BUDGET = {"kind": "density", "value": 0.25}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp("data") / "squares.h5")


@pytest.fixture
def method(monkeypatch):
    """Let the registry hand out a given function as the method "given"."""

    def use(function):
        monkeypatch.setattr(registry, "load", _loader(function, registry.load))
        return settings(method={"uses": "given", "options": {}}, budget=BUDGET)

    return use


def _loader(function, load):
    return lambda kind, name: function if (kind, name) == ("method", "given") else load(kind, name)


def _random(task, budget, generator, **options):
    weights = prunable(task.build())
    return Mask({name: torch.rand(w.shape, generator=generator) < budget["value"] for name, w in weights.items()})


def test_mask_history_and_report_are_written(data, tmp_path, method):
    def learned(task, budget, generator):
        return Found(_random(task, budget, generator), {"step": [0.0, 1.0], "loss": [3.0, 2.0]})

    find_mask(method(learned), data, tmp_path / "mask.h5", None, "cpu", tmp_path / "states", 60.0)
    mask = Mask.load(tmp_path / "mask.h5")
    assert 0.1 < mask.density < 0.4
    with h5py.File(tmp_path / "mask.h5") as file:
        assert file["history/loss"][()].tolist() == [3.0, 2.0]
        found = dict(file.attrs)
    assert (found["method"], found["budget"], found["seed"]) == ("given", "density0.25", 0)
    assert json.loads(found["settings"])["budget"] == BUDGET
    assert found["density"] == mask.density and found["alive"] and found["why"] == ""


def test_figures_are_written_beside_the_mask(data, tmp_path, method):
    def learned(task, budget, generator):
        return Found(_random(task, budget, generator), {"step": [0.0]}, {"threshold": -1.5, "repaired": "a minimum"})

    find_mask(method(learned), data, tmp_path / "mask.h5", None, "cpu", tmp_path / "states", 60.0)
    assert read_figures(tmp_path / "mask.h5") == {"threshold": -1.5, "repaired": "a minimum"}
    find_mask(method(_random), data, tmp_path / "plain.h5", None, "cpu", tmp_path / "states", 60.0)
    assert read_figures(tmp_path / "plain.h5") == {}


@pytest.mark.parametrize("returned", [lambda mask: mask, Found])
def test_whatever_a_method_returns_is_found(data, method, returned):
    mask = Mask({"classifier.3.weight": torch.ones(3, 8) > 0})
    found = search(open_task(settings(), data), method(lambda *arguments: returned(mask)), None, None)
    assert isinstance(found, Found) and found.mask is mask and found.figures == {} and found.history == {}


def test_the_same_settings_find_the_same_mask(data, tmp_path, method):
    described = method(_random)
    masks = []
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        torch.rand(3)
        find_mask({**described, "seed": seed}, data, tmp_path / f"{name}.h5", None, "cpu", tmp_path / "states", 60.0)
        masks.append(Mask.load(tmp_path / f"{name}.h5"))
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])
    assert any(not torch.equal(masks[0][name], masks[2][name]) for name in masks[0])


def test_dropout_in_a_scored_network_is_a_stream_of_the_seed(data, tmp_path, method):
    def scored(task, budget, generator):
        model, (inputs, _) = task.build(), next(iter(task.batches("score", 1)))
        mask = Mask({"classifier.3.weight": (model(inputs).mean() > 0).expand(3, 8)})
        return Found(mask, {"mean": [model(inputs).sum().item()]})

    histories = []
    for name in "ab":
        torch.rand(7)
        find_mask(method(scored), data, tmp_path / f"{name}.h5", None, "cpu", tmp_path / "states", 60.0)
        with h5py.File(tmp_path / f"{name}.h5") as file:
            histories.append(file["history/mean"][0])
    assert histories[0] == histories[1]


def test_a_dead_mask_is_written_with_its_cause(data, tmp_path, method):
    def nothing(task, budget, generator):
        return Mask({name: torch.zeros_like(w, dtype=torch.bool) for name, w in prunable(task.build()).items()})

    find_mask(method(nothing), data, tmp_path / "mask.h5", None, "cpu", tmp_path / "states", 60.0)
    with h5py.File(tmp_path / "mask.h5") as file:
        assert not file.attrs["alive"] and file.attrs["why"] == "the mask keeps nothing"
        assert file.attrs["dead_layers"].split(",")[0] == "features.0.weight"


def test_options_and_parent_reach_the_method(data, tmp_path, method):
    seen = {}

    def asks(task, budget, generator, *, rounds, parent):
        seen.update(rounds=rounds, parent=parent, budget=budget)
        return _random(task, budget, generator)

    described = method(asks) | {"method": {"uses": "given", "options": {"rounds": 3}}}
    parent = tmp_path / "parent.safetensors"
    parent.write_bytes(b"weights")
    find_mask(described, data, tmp_path / "mask.h5", parent, "cpu", tmp_path / "states", 60.0)
    assert seen == {"rounds": 3, "parent": parent, "budget": BUDGET}


def test_a_killed_search_goes_on_where_it_was(data, tmp_path, method):
    starts = []

    def slow(task, budget, generator, checkpointer):
        state = checkpointer.load() or {"step": 0}
        starts.append(state["step"])
        if state["step"] == 0:
            checkpointer.save({"step": 3})
            raise KeyboardInterrupt
        return _random(task, budget, generator)

    described = method(slow)
    with pytest.raises(KeyboardInterrupt):
        find_mask(described, data, tmp_path / "mask.h5", None, "cpu", tmp_path / "states", 60.0)
    find_mask(described, data, tmp_path / "mask.h5", None, "cpu", tmp_path / "states", 60.0)
    assert starts == [0, 3]
    assert not (tmp_path / "states").exists()


def test_a_methods_error_leaves_no_file(data, tmp_path, method):
    def fails(task, budget, generator):
        raise MethodError("can't")

    with pytest.raises(MethodError):
        find_mask(method(fails), data, tmp_path / "mask.h5", None, "cpu", tmp_path / "states", 60.0)
    assert list(tmp_path.iterdir()) == []


def test_dense_keeps_everything(data):
    task = open_task(settings(), data)
    mask = dense(task, settings()["budget"], torch.Generator())
    assert mask.density == 1.0 and list(mask) == list(prunable(task.build()))
