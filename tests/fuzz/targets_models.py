"""Readers of networks that others made: architecture records, runs' records, and pickles."""

from __future__ import annotations

import collections
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import nn

from prunelib.models import build, saved, structure
from prunelib.storage import pickle_reader
from prunelib.storage.legacy import convert_pickle
from prunelib.storage.weights import save_weights
from tests.fuzz.mutate import rezipped
from tests.fuzz.targets import Target
from tests.fuzz.targets_data import OPCODES, hostile_pickles

MODEL = {"builder": "resnet_small", "options": {"width": 2, "blocks": 1}}
FACTS = {"classes": 2, "in_channels": 1}
HUGE = {"builder": "resnet_small", "options": {"width": 2**20, "blocks": 1}}


def network() -> nn.Module:
    """A tiny network."""
    return build.build(MODEL, 0, **FACTS)


def beside(work: Path) -> None:
    """Write the weights that the records describe."""
    save_weights(work / "weights.safetensors", network().state_dict())


def records(place: Path) -> list[bytes]:
    """The record of a tiny network, and of a vision transformer (whose weights are others)."""
    place.mkdir(parents=True)
    structure.save_structure(network(), {"model": MODEL, "facts": FACTS}, place / "a.safetensors", place / "a.json")
    vit = {
        "builder": "vit",
        "options": {"image_side": 8, "patch": 4, "width": 8, "depth": 1, "heads": 2, "mlp_ratio": 1.0},
    }
    model = build.build(vit, 0, **FACTS)
    structure.save_structure(model, {"model": vit, "facts": FACTS}, place / "b.safetensors", place / "b.json")
    return [json.dumps(json.loads((place / f"{name}.json").read_text())).encode() for name in "ab"]


def hostile_records(place: Path) -> list[bytes]:
    """Records that name themselves, ask for huge or endless networks, or nest."""
    good = json.loads(records(place)[0])
    models: list[Any] = [
        {"builder": "saved", "options": {"location": "input.safetensors"}},
        {"builder": "saved", "options": {"location": "/etc/passwd"}},
        HUGE,
        {"builder": "resnet_small", "options": {"width": 2, "blocks": 10**9}},
        {"builder": "vit", "options": {"image_side": 2**20, "patch": 1, "width": 64, "depth": 1, "heads": 1}},
        {"builder": "vit", "options": {"image_side": 8, "patch": 8, "width": 64, "depth": 10**8, "heads": 1}},
        {"builder": "vgg", "options": {"plan": [2**20] * 100}},
        {"builder": "vgg", "options": {"plan": [1] * 20_000}},
        {"builder": "vgg", "options": {"plan": [1, "M"] * 20, "hidden": 2**31}},
        {"builder": "timm", "options": {"name": "../../etc"}},
        {"builder": "timm", "options": {"name": "hf-hub:x/y"}},
        {"builder": "torchvision", "options": {"name": "resnet50", "weights": "/etc/passwd"}},
        {"builder": ["vgg"], "options": {}},
        {"builder": "resnet_small", "options": [1]},
        {"builder": "resnet_small", "options": {"width": 10**4000, "blocks": 1}},
    ]
    changes: list[dict[str, Any]] = [{"model": model} for model in models]
    changes += [
        {"blocks": {"": [0]}},
        {"blocks": {"stages": [0] * 10}},
        {"blocks": {"conv": [-1]}},
        {"drops": {"": 0.5}},
    ]
    changes += [{"facts": {"classes": 2**40, "in_channels": 1}}, {"facts": {"classes": 2, "in_channels": 2**31}}]
    changes += [{"facts": {"seed": 1}}, {"facts": {"model": 1}}, {"heads": {"": [1, 1]}}, {"heads": {"x": [1]}}]
    changes += [
        {"tensors": {"x.weight": [1]}},
        {"tensors": {}},
        {"packages": {"torch": [1]}},
        {"drops": {"conv": 1e999}},
    ]
    found = [json.dumps(good | change).encode() for change in changes]
    return [
        *found,
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"9" * 5000,
        b"[1e999, NaN, -Infinity]",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
    ]


def read_record(path: Path) -> Any:
    """Build a network from a record and the weights beside it."""
    return structure.load_structure(path.with_name("weights.safetensors"), path)


def runs(_: Path) -> list[bytes]:
    """What a run's metrics.json says of its network."""
    return [
        json.dumps({"settings": {"model": MODEL, "seed": 0}, "facts": FACTS, "status": "ok", "metrics": {}}).encode()
    ]


def hostile_runs(place: Path) -> list[bytes]:
    """Settings of networks that can't be or should not be built."""
    found = [json.loads(content) for content in hostile_records(place) if content.startswith(b'{"format')]
    made = [{"settings": {"model": record["model"], "seed": 0}, "facts": record["facts"]} for record in found]
    made += [{"settings": {"model": MODEL, "seed": seed}, "facts": FACTS} for seed in (-1, 1e300, "x", None, [], 2**70)]
    made += [{"settings": 5}, {"settings": {"model": 5, "seed": 0}, "facts": 3}, {"facts": FACTS}]
    return [json.dumps(one).encode() for one in made]


def read_run(path: Path) -> Any:
    """Load the network of a run's directory whose metrics the file is."""
    path.rename(path.with_name("metrics.json"))
    return saved.load(path.parent)


def pickled(_: Path) -> list[bytes]:
    """What torch.save writes, now and before 1.6: state dict, module, checkpoint."""
    model, found = network(), []
    for content in (model.state_dict(), nn.Linear(2, 3), {"model": nn.Linear(2, 2), "epoch": 1, "args": {"a": [1]}}):
        for options in ({}, {"_use_new_zipfile_serialization": False}):
            buffer = io.BytesIO()
            torch.save(content, buffer, **options)
            found.append(buffer.getvalue())
    return found


def hostile_networks(place: Path) -> list[bytes]:
    """The attacks on plain pickles, in the places where torch keeps its own."""
    found = hostile_pickles(place)
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2)}, buffer)
    whole = buffer.getvalue()

    class One:
        def choice(self, names: list[str]) -> str:
            return next(name for name in names if name.endswith("data.pkl"))

        def random(self) -> float:
            return 1.0

    zipped = [rezipped(One(), whole, lambda _, attack=attack: attack) for attack in found]  # type: ignore[arg-type]
    head = pickle.dumps(pickle_reader.OLD_MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    return [*found, *zipped, *(head + attack for attack in found)]


def take_out(path: Path) -> Any:
    """Do what the process apart does with its input, in this process: refusals are its, the rest must not happen."""
    with open(path, "rb") as source:
        try:
            content, bytes_of = pickle_reader._read(source)
            target = io.BytesIO()
            pickle_reader._write(target, pickle_reader.choose(content, ""), bytes_of, numpy)
        except Exception as error:  # as in main
            raise pickle_reader_refusal(error) from None
    return collections.Counter(target.getvalue())


def pickle_reader_refusal(error: Exception) -> Exception:
    """Return the error that ``convert_pickle`` makes of a refusal."""
    from prunelib.errors import ArtefactError

    return ArtefactError(f"{type(error).__name__}")


def convert(path: Path) -> Any:
    """Convert a pickle as the command does, with the process apart."""
    return convert_pickle(path, path.with_name("converted.safetensors"))


JSON = (
    b'"builder"',
    b'"saved"',
    b"[",
    b"{",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"NaN",
    b'"blocks":{"layer1":[0]}',
    b"\\ud800",
)
TARGETS = [
    Target(
        "architecture record",
        read_record,
        records,
        crafted=hostile_records,
        tokens=JSON,
        suffix=".json",
        prepare=beside,
    ),
    Target("run record", read_run, runs, crafted=hostile_runs, tokens=JSON, suffix=".json", prepare=beside),
    Target("pickled network", take_out, pickled, rezipped, hostile_networks, OPCODES, ".pth"),
    Target(
        "pickled network, whole command", convert, pickled, rezipped, hostile_networks, OPCODES, ".pth", starts=True
    ),
]
