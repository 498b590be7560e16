"""Weights on disk: safetensors (never pickle) with a checksum of the whole file in its header.

safetensors finds a truncated file but not a flipped bit. Here the header's only metadata entry, ``prunelib``, holds a
sha256 of the file in which the digest itself reads as zeros; the file stays readable by every safetensors reader.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from prunelib.errors import ArtefactError
from prunelib.storage.files import atomic_path, read_bytes

KEY = "prunelib"
FORMAT = "weights-1 sha256 "
BLANK = b"0" * 64
OPENING = f'{{"__metadata__":{{"{KEY}":"{FORMAT}'.encode()  # follows the header's 8-byte length
# A header may claim sizes that no tensor has: torch then raises TypeError or RuntimeError.
BROKEN = (safetensors.SafetensorError, KeyError, ValueError, TypeError, RuntimeError)
DIGEST = slice(8 + len(OPENING), 8 + len(OPENING) + 64)


def save_weights(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Write named tensors atomically, on the CPU and contiguous; the same tensors give the same bytes."""
    contiguous = torch.contiguous_format
    tensors = {name: tensor.detach().cpu().clone(memory_format=contiguous) for name, tensor in state.items()}
    content = bytearray(safetensors.torch.save(tensors, {KEY: FORMAT + BLANK.decode()}))
    content[DIGEST] = hashlib.sha256(content).hexdigest().encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Read tensors by name to the CPU; a missing, torn, damaged or foreign file raises ArtefactError naming it."""
    content = read_bytes(path)
    if content[8 : DIGEST.start] != OPENING or len(content) < DIGEST.stop:
        raise ArtefactError(f"{path}: not a weights file of this project, or damaged; delete it and run again.")
    found = hashlib.sha256(content[: DIGEST.start] + BLANK)
    found.update(memoryview(content)[DIGEST.stop :])
    if found.hexdigest().encode() != content[DIGEST]:
        raise ArtefactError(f"{path}: torn or damaged (its checksum does not fit); delete it and run again.")
    try:
        return safetensors.torch.load(content)
    except BROKEN as error:
        raise ArtefactError(f"{path}: not valid safetensors ({str(error)[:300]}); delete it and run again.") from None


def load_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read any safetensors file to the CPU, also one that another program wrote: such files have no checksum.

    Raises ArtefactError as ``load_weights`` does, and for a pickle.
    """
    if Path(path).suffix != ".safetensors":
        raise ArtefactError(
            f"{path}: only .safetensors files are read. If it is a pickle (.pt, .pth), python -m prunelib "
            "convert-pickle takes out its tensors."
        )
    try:
        with open(path, "rb") as stream:
            ours = stream.read(DIGEST.start)[8:] == OPENING
        if not ours:
            return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such file.") from None
    except (OSError, *BROKEN) as error:
        raise ArtefactError(f"{path}: can't be read as safetensors ({str(error)[:300]}).") from None
    return load_weights(path)
