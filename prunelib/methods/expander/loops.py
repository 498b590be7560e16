"""Compiled loops behind the random graphs: shuffling, drawing subsets, and which subsets reach which vertices.

Only integers, drawn by the caller, so that every machine gives the same ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prunelib.compiled import compiled

Bits = NDArray[np.uint64]  # (vertices, words): bit j of word w of a row says whether subset 64 w + j has the vertex
PLANES = 32  # binary digits of a count
ALL = np.uint64(2**64 - 1)


@compiled()
def _below(draw: int, bound: int) -> int:
    """Map 32 random bits to 0 .. bound - 1; odds differ by a factor of at most 1 + bound / 2^32."""
    return (np.uint64(draw) * np.uint64(bound)) >> np.uint64(32)


@compiled()
def shuffle_(values: NDArray, draws: NDArray[np.uint32]) -> None:
    """Put values in random order, in place (Fisher and Yates), with one draw per value."""
    for last in range(values.size - 1, 0, -1):
        other = _below(draws[last], last + 1)
        values[last], values[other] = values[other], values[last]


@compiled()
def choose(side: int, sizes: NDArray[np.int64], draws: NDArray[np.uint32]) -> Bits:
    """Draw a uniform subset of ``side`` vertices for every size; there are as many ``draws`` as the sizes sum to.

    There are words for a multiple of 256 subsets; those that none was asked for hold every vertex.
    """
    members = np.zeros((side, (sizes.size + 255) // 256 * 4), dtype=np.uint64)
    members[:, sizes.size // 64 :] = ALL
    if sizes.size % 64:
        members[:, sizes.size // 64] = ALL << np.uint64(sizes.size % 64)
    order, drawn = np.arange(side), 0
    for subset in range(sizes.size):
        word, bit = subset // 64, np.uint64(1) << np.uint64(subset % 64)
        for place in range(sizes[subset]):  # any order to begin with is good, so that of the last subset is
            other = place + _below(draws[drawn], side - place)
            order[place], order[other] = order[other], order[place]
            members[order[place], word] |= bit
            drawn += 1
    return members


@compiled()
def reached(cells: NDArray[np.integer], inputs: Bits, outputs: Bits) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the neighbours of every subset: of the subsets of inputs, and of those of outputs.

    ``cells``: input * (number of outputs) + output of every edge, by ascending input; an edge may come twice. Quick
    where subsets ascend in size: the words of large ones are soon all ones.
    """
    n_out, words = outputs.shape
    found = np.zeros((n_out, words), dtype=np.uint64)  # subsets of inputs that reach an output
    here = np.zeros(words, dtype=np.uint64)  # subsets of outputs that reach the input at hand
    ahead, back = np.zeros((PLANES, words), dtype=np.uint64), np.zeros((PLANES, words), dtype=np.uint64)
    edge = 0
    for vertex in range(inputs.shape[0]):
        start, base = edge, vertex * n_out
        while edge < cells.size and cells[edge] < base + n_out:
            _join(found[cells[edge] - base], inputs[vertex])
            edge += 1
        for word in range(0, words, 4):
            _union(here, outputs, cells, start, edge, base, word)
        _count_missing(back, here)
    for row in range(n_out):
        _count_missing(ahead, found[row])
    return n_out - _numbers(ahead), inputs.shape[0] - _numbers(back)


@compiled()
def _join(row: NDArray[np.uint64], more: NDArray[np.uint64]) -> None:
    """Add the subsets of ``more`` to those of ``row``."""
    for word in range(row.size):
        row[word] |= more[word]


@compiled()
def _union(here: NDArray, rows: Bits, cells: NDArray, start: int, end: int, base: int, word: int) -> None:
    """Set four words of ``here`` to the subsets of any of the rows cells[start:end] - base, up to where all are in."""
    a = b = c = d = np.uint64(0)
    edge = start
    while edge < end and (a & b & c & d) != ALL:
        row = cells[edge] - base
        a, b = a | rows[row, word], b | rows[row, word + 1]
        c, d = c | rows[row, word + 2], d | rows[row, word + 3]
        edge += 1
    here[word], here[word + 1], here[word + 2], here[word + 3] = a, b, c, d


@compiled()
def _count_missing(planes: Bits, row: NDArray[np.uint64]) -> None:
    """Add one to the count of every subset not in ``row``; plane p holds the digit 2^p of 64 counts per word."""
    for word in range(row.size):
        carry, plane = ~row[word], 0
        while carry:
            carried = planes[plane, word] & carry
            planes[plane, word] ^= carry
            carry, plane = carried, plane + 1


@compiled()
def _numbers(planes: Bits) -> NDArray[np.int64]:
    """Read the counts out of their binary digits."""
    numbers = np.zeros(planes.shape[1] * 64, dtype=np.int64)
    for plane in range(PLANES):
        for subset in range(numbers.size):
            digit = (planes[plane, subset // 64] >> np.uint64(subset % 64)) & np.uint64(1)
            numbers[subset] += np.int64(digit) << plane
    return numbers
