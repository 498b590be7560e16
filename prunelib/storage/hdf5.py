"""HDF5 artefacts: sealed with a checksum of the whole file, verified before a byte of it is parsed.

The first 512 bytes (HDF5's user block, which every HDF5 reader skips) hold ``MAGIC`` and the sha256 of all bytes after
them, so that a torn file or a single flipped bit is found wherever it is. Files hold no time stamps: the same content
gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from prunelib.errors import ArtefactError
from prunelib.storage.files import atomic_path
from prunelib.storage.hdf5_reader import Group, read_root

MAGIC = b"prunelib hdf5, sha256 of the rest: "
BLOCK = 512
DEPTH = 3
# What the reading of something unexpected amounts to.
BROKEN = (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError)
HISTORY = "prunelib-history-1"
MASK = "prunelib-mask-1"


@contextmanager
def creating(path: str | Path, form: str) -> Iterator[h5py.File]:
    """Open a new HDF5 file for writing, of format ``form``; it is sealed and gets its name when the block ends well."""
    with atomic_path(path) as temporary:
        with open(temporary, "w+b", buffering=0) as raw:
            stream = _Forbearing(raw)
            with h5py.File(stream, "w", libver="v110", userblock_size=BLOCK, track_order=True) as file:
                file.attrs["format"] = form
                yield file
            if stream.error is not None:
                raise stream.error
        with open(temporary, "r+b") as whole:
            whole.write(_seal(whole))


class _Forbearing:
    """A file that keeps the first error of writing for later: HDF5 ends with a segmentation fault when it hears of one.

    Of a full disk, for instance. What is written after it is thrown away.
    """

    def __init__(self, raw: RawIOBase) -> None:
        self.raw = raw
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)

    def write(self, data: bytes) -> int:
        rest = memoryview(data).cast("B")
        while rest and self.error is None:
            try:
                rest = rest[self.raw.write(rest) :]
            except OSError as error:
                self.error = error
        return len(data)

    def truncate(self, size: int) -> int:
        try:
            self.raw.truncate(size)
        except OSError as error:
            self.error = self.error or error
        return size


@contextmanager
def reading(path: str | Path, *forms: str) -> Iterator[Group]:
    """Open a file that ``creating`` wrote, after checking every byte of it; ``forms`` are the formats that are welcome.

    Raises ArtefactError, naming the file, when it is missing, torn, damaged, foreign, of another format, holds what
    this project does not write, or when what the block reads from it is not there.
    """
    try:
        with _sealed(Path(path)) as stream:
            file = read_root(stream, BLOCK, DEPTH)
            form = file.attrs.get("format")
            if form not in forms:
                raise ArtefactError(f"{path}: holds '{str(form)[:100]}'; expected {' or '.join(forms)}.")
            yield file
    except BROKEN as error:
        kind = " or ".join(forms)
        raise ArtefactError(f"{path}: can't be read as {kind} ({error}); delete it and run again.") from None


@dataclass(frozen=True)
class History:
    """What a run logged: equally long float64 columns by name, in order, and images (uint8, HWC) by name."""

    columns: dict[str, np.ndarray]
    images: dict[str, np.ndarray]


def save_history(
    path: str | Path,
    columns: Mapping[str, Sequence[float | None]],
    images: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write one float64 data set per column (None becomes NaN) and a group ``images`` of uint8 arrays, atomically."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns of a history must be equally long, not {lengths}")
    with creating(path, HISTORY) as file:
        table = file.create_group("columns", track_order=True)
        for name, values in columns.items():
            table.create_dataset(name, data=np.asarray(values, dtype=np.float64))
        group = file.create_group("images", track_order=True)
        for name, image in (images or {}).items():
            group.create_dataset(name, data=np.asarray(image, dtype=np.uint8))


def load_history(path: str | Path) -> History:
    """Read a history; raises ArtefactError as ``reading`` does."""
    with reading(path, HISTORY) as file:
        columns = {name: stored[()] for name, stored in file["columns"].items()}
        return History(columns, {name: stored[()] for name, stored in file["images"].items()})


def _seal(stream: BinaryIO) -> bytes:
    """Return the user block for an open file: MAGIC, the sha256 of what follows the block, and zeros."""
    stream.seek(BLOCK)
    digest = hashlib.file_digest(stream, "sha256").hexdigest().encode()
    stream.seek(0)
    return (MAGIC + digest).ljust(BLOCK, b"\0")


@contextmanager
def _sealed(path: Path) -> Iterator[BinaryIO]:
    """Open a file whose seal fits all of its bytes."""
    try:
        stream = open(path, "rb")  # noqa: SIM115 - what is done with it is not part of this try
    except FileNotFoundError:
        raise ArtefactError(f"{path}: missing; the step that writes it has not run.") from None
    with stream:
        found = stream.read(BLOCK)
        if not found.startswith(MAGIC):
            raise ArtefactError(f"{path}: not an HDF5 file of this project, or damaged; delete it and run again.")
        if found != _seal(stream):
            raise ArtefactError(f"{path}: torn or damaged (its checksum does not fit); delete it and run again.")
        yield stream
