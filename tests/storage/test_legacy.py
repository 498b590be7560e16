"""Pickled networks give up their tensors and nothing else: every form torch.save has written, every kind of attack."""

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from prunelib.__main__ import main
from prunelib.errors import ArtefactError
from prunelib.storage.legacy import convert_pickle
from prunelib.storage.weights import load_weights

OLD = {"_use_new_zipfile_serialization": False}


class Tiny(nn.Module):
    """A module with parameters, buffers of both kinds and a tied tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
        self.register_buffer("table", torch.arange(6).reshape(2, 3).T)
        self.register_buffer("passing", torch.ones(2), persistent=False)


def network() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


CONTENTS = {
    "state_dict": lambda model: model.state_dict(),
    "module": lambda model: model,
    "checkpoint": lambda model: {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), 0.1, momentum=0.9).state_dict(),
        "args": object,
        "epoch": 3,
    },
    "parallel": lambda model: {"state_dict": {f"module.{name}": t for name, t in model.state_dict().items()}},
}


@pytest.mark.parametrize("options", [{}, OLD], ids=["zip", "before-1.6"])
@pytest.mark.parametrize("content", CONTENTS)
def test_every_tensor_comes_out(tmp_path, content, options):
    model = network()
    torch.save(CONTENTS[content](model), tmp_path / "a.pth", **options)
    assert convert_pickle(tmp_path / "a.pth", tmp_path / "a.safetensors") == len(model.state_dict())
    found, expected = load_weights(tmp_path / "a.safetensors"), model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(found[name].dtype == expected[name].dtype for name in expected)


def test_every_type_and_view_comes_out(tmp_path):
    names = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    state = {name: torch.arange(5).to(getattr(torch, name)) for name in names}
    state |= {
        "scalar": torch.tensor(7.5),
        "empty": torch.zeros(0, 3),
        "view": torch.arange(24.0).reshape(4, 6)[1:, ::2],
    }
    torch.save(state, tmp_path / "a.pt")
    convert_pickle(tmp_path / "a.pt", tmp_path / "a.safetensors")
    found = load_weights(tmp_path / "a.safetensors")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) and found[name].dtype == state[name].dtype for name in state)


def test_one_of_several_networks_must_be_named(tmp_path):
    model = network()
    torch.save({"model": model.state_dict(), "model_ema": {"a": torch.ones(2)}}, tmp_path / "a.pth")
    with pytest.raises(ArtefactError, match=r"several networks \(model, model_ema\); say which with --key"):
        convert_pickle(tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert convert_pickle(tmp_path / "a.pth", tmp_path / "a.safetensors", "model_ema") == 1
    with pytest.raises(ArtefactError, match="no key 'other'; there are: model, model_ema"):
        convert_pickle(tmp_path / "a.pth", tmp_path / "a.safetensors", "other")


class Attack:
    """Unpickled, it calls something."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def attacks(marker: Path) -> dict[str, object]:
    line = f"open({str(marker)!r}, 'w').close()"
    return {
        "mkdir": Attack(os.mkdir, str(marker)),
        "system": Attack(os.system, f"touch {marker}"),
        "exec": Attack(exec, line),
        "eval": Attack(eval, line),
        "popen": Attack(subprocess.Popen, ["touch", str(marker)]),
        "getattr": Attack(getattr, Attack, "__reduce__"),
        "import": Attack(__import__, "antigravity"),
    }


@pytest.mark.parametrize("form", ["zip", "before-1.6", "plain"])
@pytest.mark.parametrize("name", attacks(Path("x")))
def test_attack_beside_tensors_is_not_run(tmp_path, name, form):
    """The tensors come out where the file is of torch; in no case does anything happen."""
    marker = tmp_path / "ran"
    content, path = {"model": {"w": torch.ones(2)}, "evil": attacks(marker)[name]}, tmp_path / "a.pth"
    if form == "plain":
        path.write_bytes(pickle.dumps({"evil": attacks(marker)["mkdir"]}))
        with pytest.raises(ArtefactError, match="not one that torch"):
            convert_pickle(path, tmp_path / "a.safetensors")
    else:
        torch.save(content, path, **({} if form == "zip" else OLD))
        assert convert_pickle(path, tmp_path / "a.safetensors") == 1
        assert torch.equal(load_weights(tmp_path / "a.safetensors")["w"], torch.ones(2))
    assert not marker.exists()


def test_attack_in_place_of_the_network_is_refused(tmp_path):
    marker = tmp_path / "ran"
    torch.save({"model": attacks(marker)["mkdir"]}, tmp_path / "a.pth")
    with pytest.raises(ArtefactError, match="no state dict and no module"):
        convert_pickle(tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert not marker.exists() and not (tmp_path / "a.safetensors").exists()


def archive(pickled: bytes, storage: bytes = b"\0" * 8) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        written.writestr("a/data.pkl", pickled)
        written.writestr("a/data/0", storage)
    return buffer.getvalue()


def tensor_pickle(offset: int, size: int, stride: int) -> bytes:
    """A state dict {"w": tensor} of torch's own form with impossible numbers in it."""
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, buffer)
    text = zipfile.ZipFile(buffer).read(zipfile.ZipFile(buffer).namelist()[0])
    old = b"K\x00K\x02\x85"
    assert text.count(old) == 1
    new = b"".join(b"J" + struct.pack("<i", number) for number in (offset, size)) + b"\x85"
    text = text.replace(old, new)
    at = text.index(b"K\x01\x85")
    return text[:at] + b"J" + struct.pack("<i", stride) + text[at + 2 :]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 2, 1), None),
        ((0, 3, 1), "larger than its storage"),
        ((1, 2, 1), "larger than its storage"),
        ((-1, 2, 1), "impossible shape"),
        ((0, 2, -1), "impossible shape"),
        ((0, -2, 1), "impossible shape"),
        ((0, 2**31 - 1, 0), "larger than its storage"),
    ],
)
def test_tensor_outside_its_storage_is_refused(tmp_path, numbers, message):
    (tmp_path / "a.pth").write_bytes(archive(tensor_pickle(*numbers)))
    if message is None:
        assert convert_pickle(tmp_path / "a.pth", tmp_path / "a.safetensors") == 1
        return
    with pytest.raises(ArtefactError, match=message):
        convert_pickle(tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize("cut", [0, 1, 10, 200, -30])
def test_torn_and_empty_files_are_refused(tmp_path, cut):
    torch.save(network().state_dict(), tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:cut])
    with pytest.raises(ArtefactError, match=r"a\.pth: "):
        convert_pickle(tmp_path / "a.pth", tmp_path / "a.safetensors")
    with pytest.raises(ArtefactError, match="no such file"):
        convert_pickle(tmp_path / "none.pth", tmp_path / "a.safetensors")


TRIES = {
    "open": "open(sys.argv[1], 'w')",
    "import": "import antigravity",
    "process": "os.system('touch ' + sys.argv[1])",
    "socket": "socket.socket()",
    "memory": "bytearray(2**33)",
}


@pytest.mark.parametrize("name", TRIES)
def test_jail_ends_what_it_must(tmp_path, name):
    """Code that runs all the same, as no pickle can make it, gets nothing done."""
    marker = tmp_path / "ran"
    code = (
        f"import os, sys, socket\nfrom prunelib.storage.jail import lock\nlock(10)\n{TRIES[name]}\nos.write(1, b'done')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(marker)], capture_output=True, cwd=Path(__file__).parents[2])
    assert done.returncode != 0 and b"done" not in done.stdout and not marker.exists()


def test_command_says_what_it_wrote_and_replaces_nothing(tmp_path, capsys):
    torch.save(network().state_dict(), tmp_path / "a.pth")
    command = ["convert-pickle", str(tmp_path / "a.pth")]
    assert main(command) == 0
    assert "a.safetensors: 10 tensors of" in capsys.readouterr().out
    assert main(command) == 2
    assert "already there" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    assert main([*command, "--out", str(tmp_path / "b.pth")]) == 2
    assert "must end in .safetensors" in capsys.readouterr().err
