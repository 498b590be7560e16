"""Read the HDF5 that this project writes, and no other, from bytes that nobody trusts.

libhdf5, which writes it, must not read what others may have changed: on some such files it loops or ends the process.
This reader knows groups, attributes, texts, and whole arrays of the types in TYPES. Soft and external links, filters,
chunks, references, external and virtual data are no part of it: whatever it does not know raises ValueError.

Source: HDF5 File Format Specification, version 3.0: superblock (section II), object headers (section IV).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from prunelib.storage.hdf5_bytes import NOWHERE, Cursor, Source
from prunelib.storage.hdf5_heaps import ATTRIBUTES, LINKS, Texts, dense

SPACE, LINK_INFO, TYPE, LINK, LAYOUT, ATTRIBUTE, MORE, ATTRIBUTE_INFO = 1, 2, 3, 6, 8, 12, 16, 21
IDLE = {0, 5, 10}  # nothing, the value of what was never written, hints for groups
TEXT = np.dtype("V16")  # a reference to it
BYTE = "10000000 01000000 0000 0800"
TYPES = {
    bytes.fromhex(BYTE): np.dtype("u1"),
    bytes.fromhex("10080000 08000000 0000 4000"): np.dtype("<i8"),
    bytes.fromhex("11203f00 08000000 0000 4000 340b0034 ff030000"): np.dtype("<f8"),
    bytes.fromhex("38020000 01000000 10080000 01000000 0000 0800") + b"FALSE\0TRUE\0\0\1": np.dtype("?"),
    bytes.fromhex("19010100 10000000" + BYTE): TEXT,
}


@dataclass
class _Object:
    """What the header of a group or of data says; members are (order of creation, name, address)."""

    attrs: dict[str, Any] = field(default_factory=dict)
    members: list[tuple[int, str, int]] = field(default_factory=list)
    grouped: bool = False
    shape: tuple[int, ...] | None = None
    dtype: np.dtype | None = None
    place: tuple[int, int] | None = None


class Dataset:
    """An array in an open file; indexing reads all of it."""

    def __init__(self, source: Source, found: _Object) -> None:
        """Take the array's bytes; raises ValueError when they are not as many as shape and type say."""
        if found.shape is None or found.dtype is None or found.dtype is TEXT or found.place is None:
            raise ValueError("data without a shape, or of a type that this project does not write")
        self.attrs, self.shape, self.dtype = found.attrs, found.shape, found.dtype
        self._source, (self._address, self._size) = source, found.place
        if self._size != math.prod(self.shape) * self.dtype.itemsize:
            raise ValueError("data of another size than their shape")
        if self._size:
            source.claim(self._address, self._size)

    def __getitem__(self, index: Any) -> Any:
        content = self._source.read(self._address, self._size) if self._size else b""
        return _array(content, self.dtype, self.shape)[index]


class Group(Mapping[str, "Group | Dataset"]):
    """The members of a group by name, in the order of their creation, and its attributes."""

    def __init__(self, source: Source, texts: Texts, found: _Object, depth: int) -> None:
        """Read the headers of all that lies in the group; raises ValueError when it is nested deeper than ``depth``."""
        if depth < 0:
            raise ValueError("its groups are nested too deep")
        self.attrs = found.attrs
        self._members: dict[str, Group | Dataset] = {}
        for _, name, address in sorted(found.members):
            member = _object(source, texts, address)
            if name in self._members:
                raise ValueError(f"'{name}' is there twice")
            self._members[name] = Group(source, texts, member, depth - 1) if member.grouped else Dataset(source, member)

    def __getitem__(self, name: str) -> Group | Dataset:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def read_root(stream: BinaryIO, base: int, depth: int) -> Group:
    """Return the root of the HDF5 that begins at ``base`` of an open file; data are read later, from the same stream.

    Raises ValueError, KeyError or ArithmeticError for what is not the HDF5 of this project.
    """
    source = Source(stream, base)
    head = source.take(0, 48, b"\x89HDF\r\n\x1a\n")
    version, offsets, lengths, _, start, extension, _, root = head.numbers(1, 1, 1, 1, 8, 8, 8, 8)
    if (version, offsets, lengths, start, extension) != (3, 8, 8, base, NOWHERE):
        raise ValueError("a superblock that this project does not write")
    texts = Texts(source)
    found = _object(source, texts, root)
    if not found.grouped:
        raise ValueError("its root is no group")
    return Group(source, texts, found, depth)


def _object(source: Source, texts: Texts, address: int) -> _Object:
    """Read the header at an address, and what attributes and links it keeps elsewhere."""
    found, attributes = _Object(), []
    for kind, message in _messages(source, address):
        if kind == SPACE:
            found.shape = _shape(message)
        elif kind == TYPE:
            found.dtype = TYPES[message.bytes(len(message))]
        elif kind == LAYOUT:
            found.place = _place(message)
        elif kind == LINK:
            found.members.append(_link(message))
        elif kind == ATTRIBUTE:
            attributes.append(message)
        elif kind == LINK_INFO:
            found.grouped = True
            found.members += map(_link, dense(source, *where, LINKS) if (where := _elsewhere(message, 8)) else ())
        elif kind == ATTRIBUTE_INFO:
            attributes += dense(source, *where, ATTRIBUTES) if (where := _elsewhere(message, 2)) else ()
        elif kind not in IDLE:
            raise ValueError(f"it has a message of kind {kind}, which this project does not write")
    for message in attributes:
        name, value = _attribute(message, texts)
        if name in found.attrs:
            raise ValueError(f"the attribute '{name}' is there twice")
        found.attrs[name] = value
    return found


def _messages(source: Source, address: int) -> Iterator[tuple[int, Cursor]]:
    """Yield the kind and content of every message of an object's header, which may go on elsewhere."""
    version, flags = source.take(address, 6, b"OHDR").numbers(1, 1)
    if version != 2:
        raise ValueError("a header that this project does not write")
    width, extra = 1 << (flags & 3), (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
    size = source.take(address + 6, extra + width).numbers(*[1] * extra, width)[-1]
    blocks = [source.take(address + 6 + extra + width, size + 4)]
    order = 2 if flags & 4 else 0
    for block in blocks:
        while len(block) >= 4 + 4 + order:  # the last four are a checksum, which the seal makes superfluous
            kind, size, shared = block.numbers(1, 2, 1)
            block.bytes(order)
            message = Cursor(block.bytes(size))
            if shared & 2:
                raise ValueError("it shares a part with another")
            if kind == MORE:
                start, size = message.numbers(8, 8)
                blocks.append(source.take(start, size, b"OCHK"))
            else:
                yield kind, message


def _elsewhere(message: Cursor, order: int) -> tuple[int, int] | None:
    """Return the addresses of heap and tree that hold links or attributes; None when the header holds them itself."""
    _, flags = message.numbers(1, 1)
    message.bytes(order if flags & 1 else 0)
    heap, tree = message.numbers(8, 8)
    return None if heap == NOWHERE else (heap, tree)


def _link(message: Cursor) -> tuple[int, str, int]:
    """Return (order of creation, name, address) of a member; raises ValueError for anything but a hard link."""
    _, flags = message.numbers(1, 1)
    if flags & 8 and message.number(1) != 0:
        raise ValueError("it has a link; files of this project hold none")
    order = message.number(8) if flags & 4 else 0
    message.bytes(1 if flags & 16 else 0)
    name = message.bytes(message.number(1 << (flags & 3))).decode("utf-8")
    return order, name, message.number(8)


def _attribute(message: Cursor, texts: Texts) -> tuple[str, Any]:
    version, shared, *sizes, _ = message.numbers(1, 1, 2, 2, 2, 1)
    if version != 3 or shared:
        raise ValueError("an attribute that this project does not write")
    name, kind, space = (message.bytes(size) for size in sizes)
    shape, dtype = _shape(Cursor(space)), TYPES[kind]
    content = message.bytes(math.prod(shape) * dtype.itemsize)
    if dtype is not TEXT:
        return name[:-1].decode("utf-8"), _array(content, dtype, shape)[()]
    if shape:
        raise ValueError("an attribute of several texts, which this project does not write")
    return name[:-1].decode("utf-8"), texts.pop(content)


def _shape(message: Cursor) -> tuple[int, ...]:
    version, rank, _, kind = message.numbers(1, 1, 1, 1)
    if version != 2 or kind > 1:
        raise ValueError("a shape that this project does not write")
    return tuple(message.numbers(*[8] * rank))


def _place(message: Cursor) -> tuple[int, int]:
    """Return address and size of data that lie in one piece."""
    version, kind = message.numbers(1, 1)
    if version not in (3, 4) or kind != 1:
        raise ValueError("data that lie elsewhere, or in several pieces")
    address, size = message.numbers(8, 8)
    return address, size


def _array(content: bytes | bytearray, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    found = np.frombuffer(bytearray(content), dtype)
    if dtype == np.bool_ and found.view(np.uint8).max(initial=0) > 1:
        raise ValueError("a truth value that is none")
    return found.reshape(shape)
