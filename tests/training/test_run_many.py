"""The train step of runs side by side: the files of single runs, dead ones among them, and a resume of all."""

import json

import pytest
import torch

from prunelib.errors import ConfigError
from prunelib.masks.mask import Mask
from prunelib.storage.hdf5 import load_history
from prunelib.storage.weights import load_weights
from prunelib.tasks.base import prunable
from prunelib.training.run import train_run
from prunelib.training.run_many import train_many
from tests.picture import MODEL, RECIPE, denoise, write_picture

NAMES = {"weights": "weights.safetensors", "history": "history.h5", "metrics": "metrics.json"}
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_picture(tmp_path_factory.mktemp("data") / "picture.h5")


def described(seed, **recipe):
    """The plain settings of one run."""
    run = {"paper": "oes", "task": "photo", "model": "tiny", "method": "random", "budget": "density0.5", "seed": seed}
    return {
        "run": run,
        "task": {"kind": "denoise", "options": {"sigma": 0.1}},
        "model": MODEL,
        "budget": {"kind": "density", "value": 0.5},
        "recipe": RECIPE | {"steps": 4, "log_every": 2} | recipe,
        "seed": seed,
        "scale": "quick",
    }


def files(folder):
    return {name: folder / file for name, file in NAMES.items()}


def read(folder):
    outputs = files(folder)
    return json.loads(outputs["metrics"].read_text()), load_weights(outputs["weights"])


def numbers(record):
    """The metrics, with -1 for those that do not exist."""
    return {name: -1 if value is None else value for name, value in record["metrics"].items()}


def masks(data, folder, dead=()):
    """A random mask per seed; those of ``dead`` keep nothing of the head."""
    paths = []
    for seed in SEEDS:
        random = torch.Generator().manual_seed(seed)
        weights = prunable(denoise(data, seed).build())
        mask = Mask({name: torch.rand(w.shape, generator=random) < 0.7 for name, w in weights.items()})
        if seed in dead:
            mask["head.weight"][:] = False
        paths.append(folder / f"mask{seed}.h5")
        mask.save(paths[-1])
    return paths


def together(data, folder, given, **recipe):
    outputs = [files(folder / str(seed)) for seed in SEEDS]
    inputs = [{"data": data, "mask": mask} for mask in given]
    place = {"checkpoints": folder / "checkpoints", "checkpoint_seconds": 1000.0, "device": "cpu"}
    train_many([described(seed, **recipe) for seed in SEEDS], inputs, outputs, **place)
    return [read(folder / str(seed)) for seed in SEEDS]


def alone(data, folder, seed, mask):
    place = {"checkpoints": folder / "checkpoints", "checkpoint_seconds": 1000.0, "device": "cpu"}
    train_run(described(seed), data, files(folder), mask=mask, start=None, structure=None, **place)
    return read(folder)


def test_runs_write_what_single_runs_write(data, tmp_path):
    given = masks(data, tmp_path, dead=[1])
    for seed, (record, weights) in zip(SEEDS, together(data, tmp_path / "many", given), strict=True):
        single, expected = alone(data, tmp_path / f"alone{seed}", seed, given[seed])
        assert numbers(record) == pytest.approx(numbers(single), rel=0.05, abs=0.05)
        for part in ("run", "status", "why", "settings", "scale"):
            assert record[part] == single[part]
        assert record["provenance"]["inputs"] == single["provenance"]["inputs"]
        assert record["timing"].keys() == single["timing"].keys()
        assert (record["timing"]["side_by_side"], single["timing"]["side_by_side"]) == (3, 1)
        assert record["status"] == ("dead" if seed == 1 else "ok")
        steps = load_history(tmp_path / "many" / str(seed) / "history.h5").columns.get("step", [])
        assert list(steps) == ([] if seed == 1 else [0, 2, 4])
        pruned = Mask.load(given[seed])
        assert weights.keys() == expected.keys() and not any(
            weights[name][~kept].any() for name, kept in pruned.items()
        )
    assert not (tmp_path / "many" / "checkpoints").exists()


def test_what_can_not_go_side_by_side_is_refused(data, tmp_path):
    place = {"checkpoints": tmp_path, "checkpoint_seconds": 1000.0, "device": "cpu"}

    def refused(*settings):
        train_many(settings, [{"data": data}] * len(settings), [files(tmp_path)] * len(settings), **place)

    with pytest.raises(ConfigError, match="got no run"):
        refused()
    with pytest.raises(ConfigError, match="run 1 differs from run 0 in recipe"):
        refused(described(0), described(1, steps=5))
    with pytest.raises(ConfigError, match=r"recipe\.compact is true"):
        refused(described(0, compact=True))
    with pytest.raises(ConfigError, match=r"recipe\.loop is classify"):
        refused(described(0, loop="classify"))
