"""The bytes of a file that nobody trusts: none is taken that is not there, and no more than there are."""

from __future__ import annotations

import os
from typing import BinaryIO

NOWHERE = 2**64 - 1  # the address of what has no bytes


class Source:
    """Bytes of an open file; addresses count from ``base``.

    A whole file has bytes of its own for each of its parts. Who asks for more bytes in all than there are gets
    ValueError, so that no file leads in circles, unfolds to more than it holds or takes longer than its size explains.
    """

    def __init__(self, stream: BinaryIO, base: int) -> None:
        """Take from an open file, of which the first ``base`` bytes are none of it."""
        self._stream, self._base = stream, base
        self._size = self._left = os.fstat(stream.fileno()).st_size - base

    def claim(self, start: int, size: int) -> None:
        """Take bytes without reading them; raises ValueError when they are not there, or too many by now."""
        self._left -= size
        if size < 1 or start + size > self._size or self._left < 0:
            raise ValueError("it refers to bytes that it does not have")

    def read(self, start: int, size: int) -> bytearray:
        """Return bytes that were claimed."""
        self._stream.seek(self._base + start)
        found = bytearray(self._stream.read(size))
        if len(found) != size:
            raise ValueError("it became shorter")
        return found

    def take(self, start: int, size: int, signature: bytes = b"") -> Cursor:
        """Claim and return bytes; raises ValueError when they do not begin with ``signature``, which is left out."""
        self.claim(start, size)
        cursor = Cursor(self.read(start, size))
        if cursor.bytes(len(signature)) != signature:
            raise ValueError(f"there is no {signature.decode('latin-1')!r} where it should be")
        return cursor


class Cursor:
    """A place in a few bytes; what lies behind their end raises ValueError."""

    def __init__(self, content: bytes | bytearray) -> None:
        """Start at the first byte."""
        self._content, self._at = bytes(content), 0

    def __len__(self) -> int:
        return len(self._content) - self._at

    def bytes(self, size: int) -> bytes:
        """Return the next bytes."""
        if size > len(self):
            raise ValueError("one of its parts ends too early")
        self._at += size
        return self._content[self._at - size : self._at]

    def number(self, size: int) -> int:
        """Return the next unsigned number of so many bytes."""
        return int.from_bytes(self.bytes(size), "little")

    def numbers(self, *sizes: int) -> list[int]:
        """Return the next unsigned numbers of so many bytes each."""
        return [self.number(size) for size in sizes]
