"""The compress step: the file gives back the network whose metrics are written, whether shared values train or not."""

import json

import pytest
import torch

from prunelib.errors import ArtefactError, ConfigError
from prunelib.masks.mask import Mask
from prunelib.methods.deep_compression.file import load_compressed
from prunelib.methods.deep_compression.prune import trained_magnitude
from prunelib.seeds import generator
from prunelib.storage.hdf5 import load_history
from prunelib.storage.weights import load_weights, save_weights
from prunelib.tasks.base import prunable
from prunelib.tasks.classify import Classify
from prunelib.training.classify import evaluate, train_classifier
from prunelib.training.compress import compress_run
from tests.tiny import LEARNS_FAST, recipe, settings, write_squares

OUTPUTS = {"weights": "weights.safetensors", "history": "history.h5", "metrics": "metrics.json", "compressed": "c.bin"}
OPTIONS = {"of": "pruned", "conv_bits": 1, "linear_bits": 2}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """A trained and pruned network's files, and what it is."""
    folder = tmp_path_factory.mktemp("pruned")
    task = Classify(write_squares(folder / "squares.h5"), LEARNS_FAST, 0, batch_size=16)
    model = task.build()
    train_classifier(task, model, recipe(epochs=6))
    inputs = {"data": folder / "squares.h5", "start": folder / "weights.safetensors", "mask": folder / "mask.h5"}
    save_weights(inputs["start"], model.state_dict())
    budget = {"kind": "density", "value": 0.5}
    mask = trained_magnitude(task, budget, generator(0, "search"), parent=inputs["start"])
    train_classifier(task, model, recipe(epochs=2), mask=mask)
    save_weights(inputs["start"], model.state_dict())
    mask.save(inputs["mask"])
    return task, model, inputs


def compress(pruned, folder, inputs=None, **changes):
    described = settings(model=LEARNS_FAST, method={"uses": "deep_compression", "options": OPTIONS}, **changes)
    outputs = {name: folder / file for name, file in OUTPUTS.items()}
    where = {"checkpoints": folder / "checkpoints", "checkpoint_seconds": 0.0, "device": "cpu"}
    compress_run(described, inputs or pruned[2], outputs, **where)
    return outputs, json.loads(outputs["metrics"].read_text())


def test_without_training_the_file_is_the_pruned_network_with_few_values(pruned, tmp_path):
    task, model, _ = pruned
    outputs, record = compress(pruned, tmp_path, recipe=recipe(epochs=0))
    found, weights = record["metrics"], load_weights(outputs["weights"])
    assert record["status"] == "ok" and load_history(outputs["history"]).columns == {}
    back = load_compressed(outputs["compressed"], task.build().state_dict())
    assert all(torch.equal(back[name], weights[name]) for name in weights)
    for name, weight in prunable(model).items():
        assert torch.equal(weights[name] == 0, weight == 0)
        assert len(weights[name][weight != 0].unique()) <= (4 if name.startswith("classifier") else 2)
    assert found["top1_start"] == evaluate(task, model, "test", 16)["top1"]
    restored = task.build()
    restored.load_state_dict(back)
    scores = evaluate(task, restored, "test", 16)
    assert (found["top1"], found["loss"]) == (scores["top1"], scores["loss"])
    assert (found["top1_shared"], found["loss_shared"]) == (found["top1"], found["loss"])
    assert found["density"] == 0.5 and found["bytes_compressed"] == outputs["compressed"].stat().st_size
    assert found["ratio_dense"] > 2 and found["ratio_sparse"] > 2


def test_training_the_shared_values_lowers_the_loss_and_keeps_who_shares_what(pruned, tmp_path):
    fixed, before = compress(pruned, tmp_path / "fixed", recipe=recipe(epochs=0))
    tuned, after = compress(pruned, tmp_path / "tuned", recipe=recipe(epochs=5, lr=0.01))
    assert after["metrics"]["loss_shared"] == before["metrics"]["loss"]
    columns = load_history(tuned["history"]).columns
    assert len(columns["loss"]) == 5 and after["metrics"]["loss"] < after["metrics"]["loss_shared"]
    old, new = load_weights(fixed["weights"]), load_weights(tuned["weights"])
    for name in prunable(pruned[1]):
        pairs = torch.stack([old[name].reshape(-1), new[name].reshape(-1)]).unique(dim=1)
        assert len(pairs[0].unique()) == pairs.shape[1], "two weights that shared a value no longer do"
        assert not torch.equal(old[name], new[name])
    assert not (tmp_path / "tuned" / "checkpoints").exists()


def test_the_same_inputs_give_the_same_bytes(pruned, tmp_path):
    files = [compress(pruned, tmp_path / name, recipe=recipe(epochs=2))[0] for name in ("first", "again")]
    for name in ("weights", "compressed"):
        assert files[0][name].read_bytes() == files[1][name].read_bytes()


def test_shared_weights_train_in_another_memory_layout_too(pruned, tmp_path):
    outputs, record = compress(pruned, tmp_path, recipe=recipe(epochs=2, channels_last=True))
    back = load_compressed(outputs["compressed"], pruned[0].build().state_dict())
    assert all(torch.equal(back[name], tensor) for name, tensor in load_weights(outputs["weights"]).items())
    assert record["metrics"]["loss"] < record["metrics"]["loss_shared"]


def test_a_network_that_is_not_pruned_can_be_compressed(pruned, tmp_path):
    task, _, inputs = pruned
    save_weights(tmp_path / "dense.safetensors", task.build().state_dict())
    given = {"data": inputs["data"], "start": tmp_path / "dense.safetensors"}
    _, record = compress(pruned, tmp_path, given, recipe=recipe(epochs=0))
    assert record["metrics"]["density"] == 1 and record["metrics"]["ratio_sparse"] > record["metrics"]["ratio_dense"]


def test_a_dead_network_is_compressed_and_not_trained(pruned, tmp_path):
    task, _, inputs = pruned
    weights = prunable(task.build())
    Mask({name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in weights.items()}).save(
        tmp_path / "nothing.h5"
    )
    outputs, record = compress(pruned, tmp_path, inputs | {"mask": tmp_path / "nothing.h5"})
    assert record["status"] == "dead" and load_history(outputs["history"]).columns == {}
    assert record["metrics"]["density_nonzero"] == 0 and outputs["compressed"].exists()


@pytest.mark.parametrize("change", [{"enforce": "leaky"}, {"sparse": "auto"}])
def test_recipes_that_need_plain_weights_are_refused(pruned, tmp_path, change):
    with pytest.raises(ConfigError, match=f"recipe.{next(iter(change))}"):
        compress(pruned, tmp_path, recipe=recipe(**change))


def test_a_file_that_does_not_give_the_network_back_is_an_error(pruned, tmp_path, monkeypatch):
    def wrong(path, like):
        return {name: tensor + 1 for name, tensor in like.items()}

    monkeypatch.setattr("prunelib.training.compress.load_compressed", wrong)
    with pytest.raises(ArtefactError, match="does not give back"):
        compress(pruned, tmp_path, recipe=recipe(epochs=0))
