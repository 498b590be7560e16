"""Flat masks: one vector of bits for a whole network, as others publish them, read without running anything."""

from __future__ import annotations

import pickletools
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np

from prunelib.errors import ArtefactError

LIMIT = 2**30  # entries; no network here is near it
RATIO, RATIO_FREE = 200, 2**26  # unpacked / packed of a mask, and up to where it does not matter
COUNT = 8  # bytes of the number of entries in front of them, little-endian
GLOBALS = {"torch._utils _rebuild_tensor_v2", "torch.storage _load_from_bytes", "collections OrderedDict"}
OPCODES = {
    "PROTO", "GLOBAL", "BINPUT", "LONG_BINPUT", "MARK", "BINBYTES", "BININT", "BININT1", "BININT2", "TUPLE", "TUPLE1",
    "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "NEWFALSE", "REDUCE", "STOP",
}  # fmt: skip


def read_flat(path: str | Path, size: int | None = None) -> np.ndarray:
    """Return the boolean vector (N,), True = kept, of a flat mask file.

    Formats, told apart by their content: .npy; .npz of one array; a pickle of protocol 3 of one flat BoolTensor, of
    which only the bytes are taken; one byte per entry, 0 or 1; and, where ``size`` (N) is given and the length fits,
    eight entries per byte, first entry in the highest bit. Arrays of more dimensions are read in C order.
    Raises ArtefactError, naming the file, for anything else. Source of the pickle's layout: OES's published masks.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path}: can't be read ({error.strerror}).") from None
    if content.startswith(b"\x93NUMPY"):
        return _array(content, path)
    if content.startswith(b"PK\x03\x04"):
        return _array(_only_member(content, path), path)
    if content.startswith(b"\x80\x03"):
        return _bits(np.frombuffer(_from_pickle(content, path), dtype=np.uint8), path)
    if size is not None and size > 8 and len(content) == -(-size // 8):
        return np.unpackbits(np.frombuffer(content, dtype=np.uint8), count=size).astype(bool)
    return _bits(np.frombuffer(content, dtype=np.uint8), path)


def _bits(values: np.ndarray, path: Path) -> np.ndarray:
    if values.size == 0 or values.dtype.kind not in "bui" or not np.isin(values, (0, 1)).all():
        raise ArtefactError(
            f"{path}: not a flat mask. Allowed: .npy, .npz, bytes of 0 and 1, packed bits of a network's number of "
            "parameters, or the pickle of one flat boolean tensor."
        )
    return values.reshape(-1).astype(bool)


def _array(content: bytes, path: Path) -> np.ndarray:
    stream = BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = header(stream)
        if np.prod(shape, dtype=np.float64) * kind.itemsize > len(content):
            raise ValueError("it is cut off")
        stream.seek(0)
        return _bits(np.lib.format.read_array(stream, allow_pickle=False), path)
    except Exception as error:  # its header is Python text, and broken text raises whatever it amounts to
        if isinstance(error, ArtefactError):
            raise
        raise ArtefactError(f"{path}: can't be read as an array ({error}).") from None


def _only_member(content: bytes, path: Path) -> bytes:
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            members = archive.infolist()
            most = min(8 * LIMIT, max(RATIO_FREE, RATIO * len(content)))
            if len(members) != 1 or not members[0].filename.endswith(".npy") or members[0].file_size > most:
                names = ", ".join(member.filename for member in members[:5])
                raise ArtefactError(f"{path}: holds {names or 'nothing'}; a flat mask is one array.")
            return archive.read(members[0])
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
        raise ArtefactError(f"{path}: can't be read as .npz ({error}).") from None


def _from_pickle(content: bytes, path: Path) -> bytes:
    """Return the raw 0/1 bytes at the end of a pickle's one byte string; the pickle is looked at, never loaded."""
    strings, numbers = [], []
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name not in OPCODES or (opcode.name == "GLOBAL" and argument not in GLOBALS):
                asked = argument if opcode.name == "GLOBAL" else opcode.name
                raise ArtefactError(f"{path}: this pickle asks for {asked}; the pickle of a flat mask does not.")
            if opcode.name == "BINBYTES":
                strings.append(argument)
            elif opcode.name.startswith("BININT"):
                numbers.append(argument)
    except ValueError as error:  # pickletools' word for bytes that are no pickle
        raise ArtefactError(f"{path}: not a whole pickle ({error}).") from None
    if len(strings) != 1 or len(numbers) != 3 or numbers[0] != 0 or numbers[2] != 1:
        raise ArtefactError(f"{path}: this pickle is not that of one flat tensor with its bytes in a row.")
    (held,), count = strings, numbers[1]
    if not 0 < count <= len(held) - COUNT or int.from_bytes(held[-count - COUNT : -count], "little") != count:
        raise ArtefactError(f"{path}: this pickle's bytes are not {count} booleans with their number before them.")
    return held[-count:]
