"""Readers of the project's own files, changed under right checksums: safetensors, checkpoints, compressed networks."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch

from prunelib.errors import ArtefactError
from prunelib.methods.deep_compression import file as compressed
from prunelib.methods.deep_compression.share import share
from prunelib.storage import checkpoint, weights
from tests.fuzz.mutate import Alter, rezipped, unpacked
from tests.fuzz.targets import Target


def state() -> dict[str, torch.Tensor]:
    """A few tensors of several types."""
    return {
        "w": torch.arange(12.0).reshape(3, 4),
        "b": torch.zeros(3, dtype=torch.int64),
        "h": torch.ones(2).bfloat16(),
    }


def weights_files(place: Path) -> list[bytes]:
    """A weights file of the project."""
    weights.save_weights(place / "a.safetensors", state())
    return [(place / "a.safetensors").read_bytes()]


def digested(content: bytes) -> bytes:
    """Put the right digest into a weights file."""
    blank = content[: weights.DIGEST.start] + weights.BLANK + content[weights.DIGEST.stop :]
    return blank[: weights.DIGEST.start] + hashlib.sha256(blank).hexdigest().encode() + blank[weights.DIGEST.stop :]


def weights_made(random: Random, seed: bytes, alter: Alter) -> bytes:
    """Change header or tensors of a weights file; lengths and digest mostly right."""
    size = int.from_bytes(seed[:8], "little")
    start = weights.DIGEST.stop
    if random.random() < 0.8:
        header = seed[8:start] + alter(seed[start : 8 + size])
        length = len(header) if random.random() < 0.9 else random.choice((0, 2**63, 10**8, len(header) + 8))
        content = length.to_bytes(8, "little") + header + seed[8 + size :]
    else:
        content = seed[:start] + alter(seed[start:])
    return digested(content)


def hostile_headers(_: Path) -> list[bytes]:
    """Headers that lie about sizes, overlap, or take long."""
    found = []
    for entry in (
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]},
        {"dtype": "F" + "9" * 30_000, "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]},
        {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]},
        {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]},
        {"dtype": "U64", "shape": [1], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [1] * 3000, "data_offsets": [0, 4]},
    ):
        text = json.dumps({"__metadata__": {"prunelib": weights.FORMAT + weights.BLANK.decode()}, "x": entry})
        text = text.replace(": ", ":").replace(", ", ",").encode()
        found.append(digested(len(text).to_bytes(8, "little") + text + bytes(entry["data_offsets"][1])))
    many = {str(number): {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for number in range(100_000)}
    text = json.dumps({"__metadata__": {"prunelib": weights.FORMAT + weights.BLANK.decode()}, **many})
    text = text.replace(": ", ":").replace(", ", ",").encode()
    found.append(digested(len(text).to_bytes(8, "little") + text))
    deep = b'{"__metadata__":{"prunelib":"' + b"[" * 100_000
    return [*found, len(deep).to_bytes(8, "little") + deep]


def foreign_made(random: Random, seed: bytes, alter: Alter) -> bytes:
    """Change a safetensors file of another program: no digest, header and tensors free."""
    size = int.from_bytes(seed[:8], "little")
    header = alter(seed[8 : 8 + size])
    length = len(header) if random.random() < 0.9 else random.choice((0, 2**63, 10**8, 2**32))
    return length.to_bytes(8, "little") + header + seed[8 + size :]


def foreign_files(_: Path) -> list[bytes]:
    """A safetensors file as other programs write it."""
    import safetensors.torch

    return [safetensors.torch.save(state(), {"format": "pt"})]


def checkpoints(place: Path) -> list[bytes]:
    """A checkpoint with what training keeps in one."""
    keeper = checkpoint.Checkpointer(place, 1, "me")
    keeper.save(
        {"model": state(), "columns": {"loss": [1.0, None]}, "step": 3, "name": "x", "rng": torch.get_rng_state()[:16]}
    )
    return [keeper.current.read_bytes()]


def checkpoint_made(random: Random, seed: bytes, alter: Alter) -> bytes:
    """Change what a checkpoint's digest covers, mostly one member of the archive in it."""
    return stamped(rezipped(random, seed[len(checkpoint.FORMAT) + 32 :], alter))


def stamped(payload: bytes) -> bytes:
    """Put format and digest before a checkpoint's payload."""
    return checkpoint.FORMAT + hashlib.sha256(payload).digest() + payload


def hostile_checkpoints(_: Path) -> list[bytes]:
    """Archives of torch whose content is another than a checkpoint's."""
    found = []
    for content in (
        5,
        [],
        {},
        {"identity": "me"},
        {"identity": "me", "spent": 3},
        {"identity": "me", "spent": ["a", "b"], "state": {}},
        torch.ones(2),
        {"identity": torch.ones(2), "spent": (0.0, 0.0), "state": 1},
        {"identity": "me", "spent": (1.0, 1.0), "state": [1]},
    ):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        found.append(stamped(buffer.getvalue()))
    old = io.BytesIO()
    torch.save({"identity": "me"}, old, _use_new_zipfile_serialization=False)
    return [*found, stamped(old.getvalue()), stamped(b"")]


def read_checkpoint(path: Path) -> Any:
    """Load the state of the run "me" from a directory in which the file is the newest checkpoint."""
    keeper = checkpoint.Checkpointer(path.parent, 1, "me")
    path.rename(keeper.current)
    found = keeper.load()
    if found is None:
        raise ArtefactError("not used")
    return found


LIKE = {"w": torch.zeros(6, 20), "b": torch.zeros(3)}


def networks(place: Path) -> list[bytes]:
    """A compressed network."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 20, generator=random) * (torch.rand(6, 20, generator=random) < 0.3)
    plain = {"w": weight, "b": torch.ones(3)}
    compressed.save_compressed(place / "a.bin", plain, {"w": share(weight, 4)})
    return [(place / "a.bin").read_bytes()]


def network_made(random: Random, seed: bytes, alter: Alter) -> bytes:
    """Change header or streams of a compressed network under a right digest."""
    start, size = compressed.START + 4, int.from_bytes(seed[compressed.START : compressed.START + 4], "little")
    header, payload = seed[start : start + size], seed[start + size :]
    if random.random() < 0.6:
        try:
            header = zlib.compress(alter(unpacked(header)), 1)
        except zlib.error:
            header = alter(header)
    else:
        payload = alter(payload)
    return covered(len(header).to_bytes(4, "little") + header + payload)


def covered(content: bytes) -> bytes:
    """Put magic and digest before a compressed network's content."""
    return compressed.MAGIC + hashlib.sha256(content).digest() + content


def hostile_networks(_: Path) -> list[bytes]:
    """Headers of depth, of huge numbers, of the wrong types, and one that unpacks to much."""
    texts = [b"[" * 100_000, b"{}", b"5", b"[1]", b'[{"name": []}]', b'["x"]', bytes(100_000_000)]
    for part in ('"values": 1e99', '"values": -1', '"values": true', '"values": 99999999999999999999'):
        texts.append(b'[{"name": "w", "shape": [6, 20], %s, "codes": [0, 0], "gaps": [0, 0]}]' % part.encode())
    for codes in ("[-1, 0]", "[1e3, 4]", "null", '"ab"', "[[1], 2]", "[true, true]", "[99999999999999999999999, 1]"):
        texts.append(b'[{"name": "w", "shape": [6, 20], "values": 0, "codes": %s, "gaps": [0, 0]}]' % codes.encode())
    texts.append(b'[{"name": "b", "shape": [3.0], "dtype": "float32"}]')
    texts.append(b'[{"name": "b", "shape": [3], "dtype": ["float32"]}]')
    texts.append(b"9" * 5000)
    packed = [zlib.compress(text) for text in texts]
    return [covered(struct.pack("<I", len(text)) + text + bytes(64)) for text in packed]


def loads(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Read tensors and use them: every element is looked at."""

    def use(path: Path) -> Any:
        return {name: bytes(tensor.untyped_storage()[:64]) for name, tensor in read(path).items()}

    return use


NAMES = (
    b'"shape":[',
    b'"dtype":"F64"',
    b'"dtype":"F8_E4M3"',
    b'"data_offsets":[0,0]',
    b'"__metadata__":{',
    b"[",
    b"{",
    b"null",
)
TARGETS = [
    Target("weights", loads(weights.load_weights), weights_files, weights_made, hostile_headers, NAMES, ".safetensors"),
    Target(
        "safetensors", loads(weights.load_tensors), foreign_files, foreign_made, hostile_headers, NAMES, ".safetensors"
    ),
    Target(
        "checkpoint",
        read_checkpoint,
        checkpoints,
        checkpoint_made,
        hostile_checkpoints,
        (b"q\x00", b"h\x00", b"R", b"b", b"cbuiltins\neval\n", b"r\xff\xff\xff\x7f", b"\x8a\xff", b"Q"),
        ".ckpt",
    ),
    Target(
        "compressed network",
        lambda path: compressed.load_compressed(path, LIKE),
        networks,
        network_made,
        hostile_networks,
        (b'"shape":', b'"codes":', b"null", b"-1", b"1e9"),
    ),
]
