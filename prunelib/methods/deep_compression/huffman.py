"""Stage 3 of Deep Compression: canonical Huffman codes, exact both ways, on packed bits (bitarray does the work).

A stream is: number of code lengths L (1 byte), how many symbols have a code of each length 0 ... L-1 (2 bytes each,
little endian), the symbols in code order (1 byte each), the coded bits, padded to whole bytes. No symbols, no bytes.
"""

from __future__ import annotations

import numpy as np
from bitarray import bitarray
from bitarray.util import canonical_decode, canonical_huffman

from prunelib.errors import ArtefactError

LONGEST = 31  # bits of a code that can be decoded
SKIP = 255  # in a list of gaps: so many zeros, and no weight after them


def encode(symbols: np.ndarray) -> bytes:
    """Code symbols (n,) uint8 by the Huffman code of their own frequencies."""
    if not len(symbols):
        return b""
    counts = np.bincount(symbols, minlength=256)
    code, lengths, order = _code(counts)
    while len(lengths) > LONGEST + 1:  # frequencies like Fibonacci's; flatter ones cost next to nothing
        counts = (counts + 1) // 2
        code, lengths, order = _code(counts)
    bits = bitarray()
    bits.encode(code, symbols.astype(np.uint8).tobytes())
    return bytes([len(lengths)]) + np.array(lengths, "<u2").tobytes() + bytes(order) + bits.tobytes()


def decode(stream: bytes, count: int) -> np.ndarray:
    """Return the ``count`` symbols (uint8) of a stream; raises ArtefactError when it does not hold exactly those."""
    if count > 8 * len(stream):  # a symbol takes a bit at least
        raise ArtefactError(f"coded symbols are damaged ({count} of them in {len(stream)} bytes).")
    if not stream:
        return np.zeros(0, np.uint8)
    try:
        lengths = np.frombuffer(stream, "<u2", stream[0], 1).tolist()
        start = 1 + 2 * len(lengths)
        order = stream[start : start + sum(lengths)]
        bits = bitarray(stream[start + len(order) :])
        symbols = np.fromiter(canonical_decode(bits, lengths, order), np.uint8, count)
    except ValueError as error:
        raise ArtefactError(f"coded symbols are damaged ({error}).") from None
    length_of = np.zeros(256, np.int64)
    length_of[np.frombuffer(order, np.uint8)] = np.repeat(np.arange(len(lengths)), lengths)
    if len(bits) != -(-int(length_of[symbols].sum()) // 8) * 8:
        raise ArtefactError(f"coded symbols are damaged (more than {count} of them).")
    return symbols


def entropy(symbols: np.ndarray) -> float:
    """Return the entropy of symbols (n,) uint8 in bits per symbol: no code of single symbols is shorter; 0 for none."""
    shares = np.bincount(symbols, minlength=256) / max(1, len(symbols))
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum()) if len(shares) > 1 else 0.0


def to_gaps(kept: np.ndarray) -> np.ndarray:
    """Return the numbers of zeros before each kept place of booleans (n,), as uint8.

    255 stands for 255 zeros without a kept place after them; zeros after the last kept place are left out.
    """
    zeros = np.diff(np.flatnonzero(kept), prepend=-1) - 1
    skips, rest = np.divmod(zeros, SKIP)
    gaps = np.full(len(zeros) + int(skips.sum()), SKIP, np.uint8)
    gaps[np.cumsum(skips + 1) - 1] = rest
    return gaps


def from_gaps(gaps: np.ndarray, size: int) -> np.ndarray:
    """Return the booleans (size,) that ``to_gaps`` has described; raises ArtefactError when they would not fit."""
    ends = gaps != SKIP
    places = (np.cumsum(gaps.astype(np.int64) + ends) - 1)[ends]
    if len(places) and places[-1] >= size:
        raise ArtefactError(f"coded places are damaged: one lies at {places[-1]} of {size}.")
    kept = np.zeros(size, bool)
    kept[places] = True
    return kept


def _code(counts: np.ndarray) -> tuple[dict[int, bitarray], list[int], list[int]]:
    return canonical_huffman({symbol: int(n) for symbol, n in enumerate(counts) if n})
