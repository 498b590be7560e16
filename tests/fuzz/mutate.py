"""Changes to bytes: blind ones, and ones that know numbers, text and where a format keeps its checksums."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random

Alter = Callable[[bytes], bytes]

NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63, -1)
DIGITS = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")
LIMIT = 2**20  # bytes of an input


def mutate(random: Random, content: bytes, others: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """Return ``content`` after one to eight random changes; ``others`` are spliced in, ``tokens`` inserted."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4, 8))):
        change = random.choice(CHANGES)
        change(random, data, others, tokens)
    return bytes(data[:LIMIT])


def _place(random: Random, data: bytearray) -> int:
    return random.randrange(len(data)) if data else 0


def _flip(random: Random, data: bytearray, *_: Sequence[bytes]) -> None:
    if data:
        data[_place(random, data)] ^= 1 << random.randrange(8)


def _byte(random: Random, data: bytearray, *_: Sequence[bytes]) -> None:
    if data:
        data[_place(random, data)] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))


def _number(random: Random, data: bytearray, *_: Sequence[bytes]) -> None:
    size = random.choice((1, 2, 4, 8))
    value = random.choice(NUMBERS) % 256**size
    at = _place(random, data)
    data[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))


def _text_number(random: Random, data: bytearray, *_: Sequence[bytes]) -> None:
    found = list(DIGITS.finditer(data[: 2**14]))
    if found:
        where = random.choice(found)
        value = random.choice((*map(str, NUMBERS), "1e308", "0.5", "-0", "9" * 30, "9" * 5000))
        data[where.start() : where.end()] = value.encode()


def _cut(random: Random, data: bytearray, *_: Sequence[bytes]) -> None:
    at = _place(random, data)
    del data[at : at + random.choice((1, 2, 8, 64, 512, 4096, len(data)))]


def _repeat(random: Random, data: bytearray, *_: Sequence[bytes]) -> None:
    at = _place(random, data)
    block = data[at : at + random.choice((1, 4, 16, 64, 512))]
    data[at:at] = block * random.choice((1, 1, 2, 16, 256))


def _fill(random: Random, data: bytearray, *_: Sequence[bytes]) -> None:
    at, size = _place(random, data), random.choice((2, 4, 16, 64))
    data[at : at + size] = bytes([random.choice((0, 255, random.randrange(256)))]) * size


def _splice(random: Random, data: bytearray, others: Sequence[bytes], _: Sequence[bytes]) -> None:
    other = random.choice(others)
    at, start = _place(random, data), random.randrange(len(other) or 1)
    data[at:] = other[start:] if random.random() < 0.5 else other[start : start + 64] + data[at:]


def _token(random: Random, data: bytearray, _: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    if tokens:
        at = _place(random, data)
        token = random.choice(tokens)
        data[at : at + random.choice((0, len(token)))] = token


CHANGES = (_flip, _byte, _number, _number, _text_number, _cut, _repeat, _fill, _splice, _token, _token)


def crc_fixed_png(random: Random, seed: bytes, alter: Alter) -> bytes:
    """Change a PNG's chunks, or what its pixels unpack to, under right checksums."""
    parts, at = [], 8
    while at + 8 <= len(seed):
        (size,) = struct.unpack_from(">I", seed, at)
        parts.append((seed[at + 4 : at + 8], seed[at + 8 : at + 8 + size]))
        at += 12 + size
    if not parts:
        return alter(seed)
    chosen = random.randrange(len(parts))
    kind, body = parts[chosen]
    inner = kind == b"IDAT" and random.random() < 0.5
    try:
        parts[chosen] = kind, zlib.compress(alter(unpacked(body)), 1) if inner else alter(body)
    except zlib.error:
        parts[chosen] = kind, alter(body)
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    ]
    return seed[:8] + b"".join(chunks)


def unpacked(packed: bytes) -> bytes:
    """Return what zlib data unpack to, up to LIMIT."""
    return zlib.decompressobj().decompress(packed, LIMIT)


def rezipped(random: Random, seed: bytes, alter: Alter) -> bytes:
    """Change one member of a zip under a right checksum, or the zip itself."""
    if not seed.startswith(b"PK\x03\x04") or random.random() < 0.2:
        return alter(seed)
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(seed)) as old, zipfile.ZipFile(target, "w") as new:
        if sum(info.file_size for info in old.infolist()) > LIMIT:
            return alter(seed)
        chosen = random.choice([info.filename for info in old.infolist() if info.file_size])
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info.filename, alter(content) if info.filename == chosen else content)
    return target.getvalue()


def retarred(seed: bytes) -> bytes:
    """Return a tar whose headers have right checksums wherever they lie, as far as sizes can be followed."""
    data, at = bytearray(seed), 0
    while at + 512 <= len(data) and any(data[at : at + 512]):
        header = data[at : at + 512]
        header[148:156] = b" " * 8
        data[at + 148 : at + 156] = b"%06o\0 " % sum(header)
        try:
            size = int(bytes(data[at + 124 : at + 136]).strip(b" \0") or b"0", 8)
        except ValueError:
            break
        at += 512 + -(-max(size, 0) // 512) * 512
    return bytes(data)
