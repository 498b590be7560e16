"""Weights: exact round trips, same bytes, and every kind of damage refused by name."""

import hashlib
import os
import random
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from prunelib.errors import ArtefactError
from prunelib.storage.weights import load_weights, save_weights


def some_state():
    generator = torch.Generator().manual_seed(0)
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "gate": torch.tensor([True, False, True]),
        "steps": torch.tensor(7),
        "half": torch.randn(5, generator=generator).bfloat16(),
        "empty": torch.zeros(0, 2),
    }


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, some_state())
    return path


def test_every_bit_shape_and_type_comes_back(saved):
    found = load_weights(saved)
    assert found.keys() == some_state().keys()
    for name, tensor in some_state().items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


def test_other_readers_see_plain_safetensors(saved):
    assert torch.equal(safetensors.torch.load_file(saved)["gate"], some_state()["gate"])


def test_views_shared_and_transposed_tensors_are_stored_as_they_look(tmp_path):
    base = torch.arange(6.0)
    state = {"tied": base, "again": base, "view": base[2:4], "turned": base.reshape(2, 3).T}
    save_weights(tmp_path / "w.safetensors", state)
    found = load_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    module = torch.nn.Linear(3, 2)
    save_weights(tmp_path / "w.safetensors", module.state_dict())
    torch.nn.Linear(3, 2).load_state_dict(load_weights(tmp_path / "w.safetensors"))


def test_another_process_writes_the_same_bytes(tmp_path, saved):
    code = (
        "import sys, torch; from prunelib.storage.weights import load_weights, save_weights;"
        "save_weights(sys.argv[2], load_weights(sys.argv[1]))"
    )
    again = tmp_path / "again.safetensors"
    subprocess.run([sys.executable, "-c", code, saved, again], check=True)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(saved.read_bytes()).digest()


def test_every_one_of_200_flipped_bits_is_found(saved):
    content = saved.read_bytes()
    draw = random.Random(0)
    places = [draw.randrange(len(content)) for _ in range(150)] + [draw.randrange(200) for _ in range(50)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << draw.randrange(8)
        saved.write_bytes(damaged)
        with pytest.raises(ArtefactError, match=r"weights\.safetensors"):
            load_weights(saved)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtefactError, match=r"weights\.safetensors"):
        load_weights(saved)


def test_missing_foreign_and_malicious_files_are_refused(tmp_path):
    with pytest.raises(ArtefactError, match="missing"):
        load_weights(tmp_path / "none.safetensors")
    with pytest.raises(ArtefactError, match="can't be read"):
        load_weights(tmp_path)
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ArtefactError, match="not a weights file of this project"):
        load_weights(tmp_path / "foreign.safetensors")

    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"a": Payload()}, tmp_path / "pickle.safetensors")
    with pytest.raises(ArtefactError, match="not a weights file of this project"):
        load_weights(tmp_path / "pickle.safetensors")
    assert not (tmp_path / "ran").exists()


def test_a_save_that_fails_keeps_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def full(source, target):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        save_weights(saved, {"a": torch.zeros(2)})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["weights.safetensors"]
