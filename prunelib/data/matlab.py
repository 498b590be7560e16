"""One vector of numbers from a Matlab file (version 5), read without scipy, whose reader crashes on broken files.

Layout: 124 bytes of text, version, "IM"; then elements of 8 bytes of type and length and their content, a whole one
perhaps packed by zlib. A matrix holds elements of its own: flags (class), dimensions, name, numbers. Source: MathWorks,
MAT-File Format, version 5.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np

LIMIT = 2**24  # bytes that an element may unpack to
HEADER = 128
MATRIX, PACKED = 14, 15
DOUBLE, LAST = 6, 15  # the classes of numbers, from double to unsigned 64 bits
TYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}


def read_numbers(content: bytes, name: str) -> np.ndarray:
    """Return the numbers of the variable ``name``, flat, in Matlab's order; ValueError when they are not there."""
    if content[126:128] != b"IM":
        raise ValueError("no Matlab file of version 5 and little-endian")
    for kind, body in _elements(content[HEADER:]):
        if kind == PACKED:
            body = zlib.decompressobj().decompress(body, LIMIT)
            kind, body = next(_elements(body), (0, b""))
        if kind == MATRIX and (found := _matrix(body, name)) is not None:
            return found
    raise ValueError(f"it holds no numbers called '{name}'")


def _matrix(body: bytes, name: str) -> np.ndarray | None:
    parts = [part for _, part in zip(range(4), _elements(body), strict=False)]
    if len(parts) < 4 or parts[2][1] != name.encode() or not DOUBLE <= parts[0][1][0] <= LAST:
        return None
    kind, content = parts[3]
    numbers = np.frombuffer(content, TYPES.get(kind, "V1"))
    if kind not in TYPES or math.prod(np.frombuffer(parts[1][1], "<i4").tolist()) != len(numbers):
        raise ValueError(f"the numbers of '{name}' do not fill it")
    return numbers


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, content) of the elements that follow one another; those of up to 4 bytes have them in the tag."""
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from("<II", content, at)
        if kind >> 16:
            yield kind & 0xFFFF, content[at + 4 : at + 4 + min(kind >> 16, 4)]
            at += 8
            continue
        if size > len(content) - at - 8:
            raise ValueError("it is cut off")
        yield kind, content[at + 8 : at + 8 + size]
        at += 8 + (size if kind == PACKED else -(-size // 8) * 8)
