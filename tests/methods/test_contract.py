"""What every registered method must do on a tiny task: exact counts, and equal masks for equal seeds only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prunelib import config, registry
from prunelib.data.prepare import prepare
from prunelib.masks.mask import Mask
from prunelib.methods.common import as_found
from prunelib.runs import BUDGETS as BUDGET_KINDS
from prunelib.seeds import generator
from prunelib.storage.weights import save_weights
from prunelib.tasks.base import Task, open_task, prunable

BUDGETS = {
    "density": {"kind": "density", "value": 0.3},
    "degree": {"kind": "degree", "value": 3.0},
}
# Options that make a method cheap enough for a test; everything else keeps its default.
FAST = {"gumbel": {"steps": 5, "log_every": 1}, "synflow": {"rounds": 5}}
FAST["transfer"] = {"of": "gumbel", "from_task": "other"}
MODELS = {
    "denoise": {"builder": "hourglass", "options": {"channels": [6, 8]}},
    "classify": {"builder": "resnet_small", "options": {"width": 6, "blocks": 1}},
}
SOURCES = {
    "denoise": {"source": "photo", "options": {"name": "astronaut", "side": 16, "grey": False, "fit": "crop"}},
    "classify": {"source": "digits", "options": {"side": 8, "val_share": 0.15, "test_share": 0.25}},
}
MASKS = [name for name, entry in registry.entries("method").items() if entry.facts["stage"] == "mask"]
PAIRS = [(method, kind, budget) for method in MASKS for kind in SOURCES for budget in BUDGETS]
PAIRS = [pair for pair in PAIRS if pair[2] in registry.entry("method", pair[0]).facts["budgets"]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    for kind, spec in SOURCES.items():
        prepare({"label": kind, **spec}, folder / f"{kind}.h5")
    return {kind: folder / f"{kind}.h5" for kind in SOURCES}


def open_tiny(data: dict[str, Path], kind: str, seed: int = 0) -> Task:
    options = config.checked_options("task", kind, {}, kind)
    described = {"task": {"kind": kind, "options": options}, "model": MODELS[kind], "seed": seed}
    return open_task(described, data[kind])


def published(task: Task, folder: Path) -> Path:
    """A flat mask file that keeps three of ten parameters."""
    total = sum(parameter.numel() for parameter in task.build().parameters())
    np.save(folder / "flat.npy", np.arange(total) < int(0.3 * total))
    return folder / "flat.npy"


def find(task: Task, method: str, budget: str, folder: Path, seed: int = 0, **changes: Any) -> Mask:
    entry = registry.entry("method", method)
    given = (changes or FAST.get(method, {})) | (
        {"location": str(published(task, folder))} if method == "given" else {}
    )
    options = config.checked_options("method", method, given, method)
    parent: dict[str, Any] = {}
    if entry.facts["parent"] == "source":
        parent = {"parent": folder / "source.h5"}
        Mask.ones(prunable(task.build())).save(parent["parent"])
    elif entry.facts["parent"] != "none":
        parent = {"parent": folder / "parent.safetensors"}
        save_weights(parent["parent"], task.build().state_dict())
    found = entry.load()(task, BUDGETS[budget], generator(seed, "search"), **options, **parent)
    return as_found(found).mask


@pytest.mark.parametrize(("method", "kind", "budget"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_mask_is_exact_and_repeatable(
    data: dict[str, Path], tmp_path: Path, method: str, kind: str, budget: str
) -> None:
    task = open_tiny(data, kind)
    mask = find(task, method, budget, tmp_path)
    assert set(mask) <= set(dict(task.build().named_parameters()))
    if registry.entry("method", method).facts["parent"] != "source":
        assert 0 < mask.kept < mask.size
        if budget == "density" and registry.entry("method", method).facts["budgets"][0] == "density":  # no graphs
            assert mask.kept == int(0.3 * mask.size)
    again = find(open_tiny(data, kind), method, budget, tmp_path)
    assert all(torch.equal(mask[name], again[name]) for name in mask)


def as_published(method: str) -> dict[str, Any]:
    """The options with which a method is the authors' own."""
    return {"fidelity": "upstream"} | ({"cut": 0.2} if method == "imp" else {})


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("method", [name for name in MASKS if "fidelity" in registry.entry("method", name).options])
def test_the_authors_own_mask_covers_everything_and_is_repeatable(
    data: dict[str, Path], tmp_path: Path, method: str, kind: str
) -> None:
    """How many entries it keeps is theirs to say; what is zero at first is never among them."""
    first, again = (find(open_tiny(data, kind), method, "density", tmp_path, **as_published(method)) for _ in range(2))
    parameters = dict(open_tiny(data, kind).build().named_parameters())
    assert list(first) == list(parameters) and 0 < first.kept < first.size
    assert all((first[name] <= (parameters[name] != 0)).all() for name in parameters)
    assert all(torch.equal(first[name], again[name]) for name in first)


FREE = [name for name in MASKS if registry.entry("method", name).facts["parent"] == "none" and name != "given"]


@pytest.mark.parametrize("method", FREE)
def test_another_seed_finds_another_mask(data: dict[str, Path], tmp_path: Path, method: str) -> None:
    budget = registry.entry("method", method).facts["budgets"][0]
    masks = [find(open_tiny(data, "classify", seed), method, budget, tmp_path, seed) for seed in (0, 1)]
    assert any(not torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


@pytest.mark.parametrize("name", registry.names("method"))
def test_facts_are_known_words(name: str) -> None:
    facts = registry.entry("method", name).facts
    assert facts["stage"] in ("none", "mask", "structure", "training", "compress")
    assert facts.get("parent", "none") in ("none", "previous", "dense", "source", "of")
    assert facts.get("start", "init") in ("init", "parent")
    assert set(facts.get("budgets", ("full",))) <= BUDGET_KINDS.keys()
