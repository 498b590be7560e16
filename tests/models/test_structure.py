"""Records of smaller networks: rebuilt bit for bit, and nothing foreign is built."""

import json

import pytest
import torch

from prunelib.errors import ArtefactError
from prunelib.methods.isomorphic.groups import find_groups
from prunelib.methods.isomorphic.importance import random_scores
from prunelib.methods.isomorphic.ranking import Ranking, Rules
from prunelib.methods.isomorphic.removal import remove_
from prunelib.models.build import build
from prunelib.models.structure import load_structure, save_structure
from prunelib.seeds import generator
from prunelib.storage.weights import load_weights, save_weights

MODELS = {
    "resnet_small": {"width": 8, "blocks": 1},
    "vit": {"image_side": 8, "patch": 2, "width": 24, "depth": 2, "heads": 3},
}
EXAMPLE = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8)


def smaller(builder):
    model = build({"builder": builder, "options": MODELS[builder]}, 3, classes=10, in_channels=1)
    groups, _ = find_groups(model, EXAMPLE)
    random = generator(0, "scores")
    ranking = Ranking(groups, random_scores(groups, random), Rules("isomorphic", heads=1.0), random)
    remove_(model, groups, ranking.removed(ranking.counts(0.4)))
    return model.eval()


def saved(builder, folder):
    model = smaller(builder)
    record = {
        "model": {"builder": builder, "options": MODELS[builder]},
        "facts": {"classes": 10, "in_channels": 1},
        "pruning": {"requested": 0.5},
    }
    save_structure(model, record, folder / "pruned.safetensors", folder / "pruned.json")
    return model


@pytest.mark.parametrize("builder", MODELS)
def test_rebuilt_network_gives_the_same_bits(builder, tmp_path):
    model = saved(builder, tmp_path)
    again = load_structure(tmp_path / "pruned.safetensors").eval()
    with torch.no_grad():
        assert torch.equal(model(EXAMPLE), again(EXAMPLE))
    assert str(model) == str(again)  # every layer's printed widths
    assert json.loads((tmp_path / "pruned.json").read_text())["pruning"] == {"requested": 0.5}


def test_same_network_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        saved("vit", tmp_path / name)
    for file in ("pruned.safetensors", "pruned.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def alter(path, *keys, value):
    record = json.loads(path.read_text())
    inner = record
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("format",), "other-1", "not an architecture record"),
        (("model", "builder"), "os.system", "unknown model 'os.system'"),
        (("model", "builder"), ["vit"], "can't be built"),
        (("model", "options", "width"), -3, "model.width: got -3"),
        (("model", "options", "hook"), "x", "unknown option"),
        (("facts", "classes"), "10", "not positive integers"),
        (("facts",), {}, "needs classes, in_channels"),
        (("tensors", "head.bias"), [11], r"'head.bias' is \[11\] in the record, \[10\] in the weights"),
        (("tensors", "head.bias"), [10**15], "head.bias"),
        (("tensors", "head.bias"), [-1], "a shape is a list of positive integers"),
        (("tensors", "__class__"), [1], "tensors differ by name: __class__"),
        (("heads", "blocks.0.attn"), [6, 8], "6 heads of 8"),
        (("heads", "blocks.0.attn"), [2], "does not describe the network"),
        (("heads", "blocks.0.mlp"), [2, 8], "attention modules are not the network's"),
        (("heads",), [], "'heads' must be a dict"),
    ],
)
def test_foreign_records_are_refused(tmp_path, keys, value, message):
    saved("vit", tmp_path)
    alter(tmp_path / "pruned.json", *keys, value=value)
    with pytest.raises(ArtefactError, match=message):
        load_structure(tmp_path / "pruned.safetensors")


def test_weights_of_another_network_are_refused(tmp_path):
    saved("vit", tmp_path)
    state = load_weights(tmp_path / "pruned.safetensors")
    save_weights(tmp_path / "pruned.safetensors", state | {"norm.weight": state["norm.weight"][:-1]})
    with pytest.raises(ArtefactError, match=r"'norm\.weight' is"):
        load_structure(tmp_path / "pruned.safetensors")


@pytest.mark.parametrize("file", ["pruned.safetensors", "pruned.json"])
def test_torn_files_are_refused(tmp_path, file):
    saved("resnet_small", tmp_path)
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ArtefactError, match="delete it and run again"):
        load_structure(tmp_path / "pruned.safetensors")
