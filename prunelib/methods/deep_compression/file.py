"""A compressed network on disk: shared weights as Huffman streams, everything else as it is, under one checksum.

Layout: MAGIC; the sha256 of all that follows; the header's length (4 bytes, little endian); the header, zlib of JSON;
the payload. The header lists the network's tensors in the order in which their bytes follow each other: plain ones
with name, shape, dtype; shared ones with name, shape, and what their parts are: ``values`` (size of the codebook,
float32), ``codes`` (how many, bytes of the stream), ``gaps`` (the same). Nothing in a file is run or trusted unchecked.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunelib.errors import ArtefactError
from prunelib.methods.deep_compression import huffman
from prunelib.methods.deep_compression.share import Shared
from prunelib.storage.files import atomic_path, read_bytes

MAGIC = b"prunelib-compressed-1\n"
START = len(MAGIC) + hashlib.sha256().digest_size
LONGEST_HEADER = 2**24  # bytes; a network of a hundred thousand tensors has less
DTYPES = {"float32": "<f4", "float64": "<f8", "int64": "<i8"}  # of tensors that are not shared


def save_compressed(path: str | Path, state: Mapping[str, Tensor], layers: Mapping[str, Shared]) -> None:
    """Write a network's state atomically, with ``layers`` for the weights they stand for; same state, same bytes.

    Raises ArtefactError for a tensor of a type that a file can't hold.
    """
    parts = [_packed(name, layers[name]) if name in layers else _plain(name, state[name]) for name in state]
    header = zlib.compress(json.dumps([entry for entry, _ in parts]).encode(), 9)
    content = len(header).to_bytes(4, "little") + header + b"".join(payload for _, payload in parts)
    with atomic_path(path) as temporary:
        temporary.write_bytes(MAGIC + hashlib.sha256(content).digest() + content)


def load_compressed(path: str | Path, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read a network's state back, bit for bit; ``like`` is the state of a network of the same architecture.

    A missing, torn, damaged or foreign file, or one of another network, raises ArtefactError naming it.
    """
    content = read_bytes(path)
    if content[: len(MAGIC)] != MAGIC:
        raise ArtefactError(f"{path}: not a compressed network of this version; write it again.")
    if hashlib.sha256(content[START:]).digest() != content[len(MAGIC) : START]:
        raise ArtefactError(f"{path}: torn or damaged (its checksum does not fit); delete it and run again.")
    try:
        return _unpacked(content, like)
    except (KeyError, TypeError, ValueError, RecursionError, zlib.error) as error:
        raise ArtefactError(f"{path}: its parts do not fit together ({error}).") from None
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from None


def sizes(path: Path, state: Mapping[str, Tensor], layers: Mapping[str, Shared]) -> dict[str, float]:
    """Return what a network takes stage by stage, in bytes, and what that comes to.

    bytes_dense: all values as they are; bytes_sparse: of each shared layer its non-zero values and their indices by
    row (O of O × I·k·k) or by column, whichever is shorter, 4 bytes each; bytes_shared: codebooks, codes and gaps in
    whole bits, not yet Huffman coded; bytes_compressed: the file. ratio_dense, ratio_sparse: those to the file.
    bits_weight: bits of the streams per kept weight, bits_bound: the least that codes of single symbols could have.
    """
    plain = sum(_bytes(tensor) for name, tensor in state.items() if name not in layers)
    found = {
        "bytes_dense": plain + sum(_bytes(state[name]) for name in layers),
        "bytes_sparse": plain + sum(_sparse(shared.kept) for shared in layers.values()),
        "bytes_shared": plain + sum(_fixed(shared) for shared in layers.values()),
        "bytes_compressed": path.stat().st_size,
    }
    found |= {f"ratio_{name}": found[f"bytes_{name}"] / found["bytes_compressed"] for name in ("dense", "sparse")}
    streams = [symbols for shared in layers.values() for symbols in _symbols(shared)]
    kept = max(1, sum(len(shared.codes) for shared in layers.values()))
    found["bits_weight"] = 8 * sum(len(huffman.encode(symbols)) for symbols in streams) / kept
    found["bits_bound"] = sum(huffman.entropy(symbols) * len(symbols) for symbols in streams) / kept
    return found


def _plain(name: str, tensor: Tensor) -> tuple[dict[str, Any], bytes]:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise ArtefactError(f"'{name}' holds {dtype}; a compressed network holds {', '.join(DTYPES)}.")
    payload = tensor.detach().cpu().contiguous().numpy().astype(DTYPES[dtype]).tobytes()
    return {"name": name, "shape": list(tensor.shape), "dtype": dtype}, payload


def _packed(name: str, shared: Shared) -> tuple[dict[str, Any], bytes]:
    codes, gaps = _symbols(shared)
    streams = huffman.encode(codes), huffman.encode(gaps)
    entry = {"name": name, "shape": list(shared.kept.shape), "values": len(shared.codebook)}
    entry |= {"codes": [len(codes), len(streams[0])], "gaps": [len(gaps), len(streams[1])]}
    return entry, b"".join([shared.codebook.numpy().astype("<f4").tobytes(), *streams])


def _symbols(shared: Shared) -> tuple[np.ndarray, np.ndarray]:
    return shared.codes.numpy(), huffman.to_gaps(shared.kept.numpy().reshape(-1))


def _unpacked(content: bytes, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = START + 4 + int.from_bytes(content[START : START + 4], "little")
    unpacker = zlib.decompressobj()
    header = json.loads(unpacker.decompress(content[START + 4 : start], LONGEST_HEADER))
    reader = _Reader(content, start)
    state = {}
    for entry in header:
        name = entry["name"]
        if name in state or name not in like or entry["shape"] != list(like[name].shape):
            raise ValueError(f"'{name}' of shape {entry['shape']} is not a tensor of this network")
        state[name] = reader.plain(entry) if "dtype" in entry else reader.shared(entry)
        if state[name].dtype != like[name].dtype:
            raise ValueError(f"'{name}' holds {state[name].dtype}, the network's {like[name].dtype}")
    if len(state) != len(like) or reader.place != len(content):
        raise ValueError(f"{len(state)} of {len(like)} tensors, {len(content) - reader.place} bytes left over")
    return state


class _Reader:
    """Takes one part after the other from the payload."""

    def __init__(self, content: bytes, place: int) -> None:
        self.content, self.place = content, place

    def plain(self, entry: Mapping[str, Any]) -> Tensor:
        dtype = np.dtype(DTYPES[entry["dtype"]])
        values = np.frombuffer(self._take(math.prod(entry["shape"]) * dtype.itemsize), dtype)
        return torch.from_numpy(values.astype(dtype.newbyteorder("="))).reshape(entry["shape"])

    def shared(self, entry: Mapping[str, Any]) -> Tensor:
        codebook = torch.from_numpy(np.frombuffer(self._take(4 * entry["values"]), "<f4").astype(np.float32))
        (count, size), (steps, length) = entry["codes"], entry["gaps"]
        codes = torch.from_numpy(huffman.decode(self._take(size), count))
        kept = huffman.from_gaps(huffman.decode(self._take(length), steps), math.prod(entry["shape"]))
        if int(kept.sum()) != count or (count and int(codes.max()) >= len(codebook)):
            raise ValueError(f"'{entry['name']}': codes, places and shared values disagree")
        return Shared(torch.from_numpy(kept).reshape(entry["shape"]), codes, codebook).weight()

    def _take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.content) - self.place:
            raise ValueError(f"a part of {size} bytes where {len(self.content) - self.place} are left")
        self.place += size
        return self.content[self.place - size : self.place]


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _sparse(kept: Tensor) -> int:
    rows, columns = len(kept), kept[0].numel()
    return 4 * (2 * int(kept.sum()) + min(rows, columns) + 1)


def _fixed(shared: Shared) -> int:
    codes, gaps = _symbols(shared)
    bits = max(1, (len(shared.codebook) - 1).bit_length())
    return 4 * len(shared.codebook) + math.ceil(bits * len(codes) / 8) + len(gaps)
