"""Where HDF5 keeps texts, and the links and attributes of whoever has many: its heaps and the trees that index them.

Source: HDF5 File Format Specification, version 3.0: version 2 B-trees, global heap, fractal heap (section III).
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator

from prunelib.storage.hdf5_bytes import NOWHERE, Cursor, Source

LINKS, ATTRIBUTES = 5, 8  # what a tree indexes by name
PLACES = {LINKS: (11, slice(4, 11)), ATTRIBUTES: (17, slice(0, 8))}  # the size of a record, and where the id lies in it
DEPTH, ROWS = 8, 64  # more than any file of this project needs


class Texts:
    """The global heaps: each text is given out once."""

    def __init__(self, source: Source) -> None:
        """Read heaps when they are asked for."""
        self._source = source
        self._heaps: dict[int, dict[int, bytes]] = {}

    def pop(self, reference: bytes) -> str:
        """Return the text of a reference of 16 bytes: length, address of a heap, number in it."""
        size, address, number = Cursor(reference).numbers(4, 8, 4)
        if address not in self._heaps:
            self._heaps[address] = dict(self._objects(address))
        content = self._heaps[address].pop(number)
        if len(content) != size:
            raise ValueError("a text is shorter or longer than it should be")
        return content.decode("utf-8")

    def _objects(self, address: int) -> Iterator[tuple[int, bytes]]:
        _, size = self._source.take(address, 16, b"GCOL").numbers(4, 8)
        cursor = self._source.take(address + 16, size - 16)
        while len(cursor) >= 16:
            number, _, size = cursor.numbers(2, 6, 8)
            if number == 0:  # free space follows
                return
            yield number, cursor.bytes(size)
            cursor.bytes(min(-size % 8, len(cursor)))


def dense(source: Source, heap: int, tree: int, kind: int) -> Iterator[Cursor]:
    """Yield the links or attributes (``kind``) that a tree finds in a heap, in no particular order."""
    objects = _Heap(source, heap)
    size, place = PLACES[kind]
    for record in _records(source, tree, kind, size):
        yield objects.take(record[place])


class _Heap:
    """A fractal heap: blocks of doubling sizes; an id names bytes by their offset in all of them together."""

    def __init__(self, source: Source, address: int) -> None:
        self._source = source
        head = source.take(address, 146, b"FRHP")
        _, _, filters, flags, *_ = head.numbers(1, 2, 2, 1, 4, *[8] * 12)
        width, start, largest, bits, _, root, rows = head.numbers(2, 8, 8, 2, 2, 8, 2)
        if filters or rows > ROWS:
            raise ValueError("a heap that this project does not write")
        self._offset = -(-bits // 8)
        self._head = 9 + self._offset + (4 if flags & 2 else 0)  # of a block, behind its signature
        found = self._indirect(root, (width, start, largest), rows, 0) if rows else [(0, start, root)]
        self._blocks = list(found)
        for _, _, block in self._blocks:
            source.take(block, 4 + self._head, b"FHDB")

    def _indirect(
        self, address: int, sides: tuple[int, int, int], rows: int, offset: int
    ) -> Iterator[tuple[int, int, int]]:
        """Yield (offset, size, address) of the blocks that a table of blocks, and of further tables, leads to.

        ``sides``: blocks in a row, size of the first block, size of the largest one; larger entries are tables.
        """
        width, start, largest = sides
        table = self._source.take(address, 17 + self._offset + 8 * rows * width, b"FHIB")
        table.bytes(9 + self._offset)
        for row in range(rows):
            size = start << max(row - 1, 0)
            for _ in range(width):
                if (child := table.number(8)) != NOWHERE and size <= largest:
                    yield offset, size, child
                elif child != NOWHERE:
                    yield from self._indirect(child, sides, (size // (start * width)).bit_length(), offset)
                offset += size

    def take(self, name: bytes) -> Cursor:
        """Return the bytes of an id."""
        cursor = Cursor(name)
        kind, offset = cursor.numbers(1, self._offset)
        size = cursor.number(len(cursor))
        block = bisect(self._blocks, offset, key=lambda block: block[0]) - 1
        start, length, address = self._blocks[block]
        if kind != 0 or offset + size > start + length:
            raise ValueError("a name lies outside its heap")
        return self._source.take(address + offset - start, size)


def _records(source: Source, address: int, kind: int, record: int) -> Iterator[bytes]:
    """Yield the records of a tree (version 2)."""
    head = source.take(address, 38, b"BTHD")
    _, found, node, size, depth, _, root, count = head.numbers(1, 1, 4, 2, 2, 2, 8, 2)
    if (found, size) != (kind, record) or depth > DEPTH:
        raise ValueError("it has another tree than expected")
    # How many bytes a pointer to a node has follows from how many records may lie in and below that node.
    most = below = (node - 10) // record
    counted = [_bytes_for(most), 0]  # of records in the node, and in and below it, which a leaf's parent leaves out
    sizes = [list(counted)]
    for _ in range(depth):
        inside = (node - 10 - 8 - sum(counted)) // (record + 8 + sum(counted))
        below = (inside + 1) * below + inside
        counted = [counted[0], _bytes_for(below)]
        sizes.append(list(counted))

    def walk(address: int, count: int, depth: int) -> Iterator[bytes]:
        cursor = source.take(address, node, b"BTIN" if depth else b"BTLF")
        cursor.bytes(2)
        for _ in range(count):
            yield cursor.bytes(record)
        for _ in range(count + 1 if depth else 0):
            child, inside, _ = cursor.numbers(8, *sizes[depth - 1])
            yield from walk(child, inside, depth - 1)

    if root != NOWHERE:
        yield from walk(root, count, depth)


def _bytes_for(number: int) -> int:
    return max(number.bit_length() - 1, 0) // 8 + 1
