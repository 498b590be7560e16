"""Compiled loops behind the random graphs: shuffling, drawing subsets, and which subsets reach which vertices.

Only integers, drawn by the caller, so that every machine gives the same ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prunelib.compiled import compiled

Bits = NDArray[np.uint64]  # (vertices, words): bit j of word w of a row says whether subset 64 w + j has the vertex
PLANES = 32  # binary digits of a count


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
    """Draw a uniform subset of ``side`` vertices for every size; there are as many ``draws`` as the sizes sum to."""
    members = np.zeros((side, (sizes.size + 63) // 64), dtype=np.uint64)
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

    ``cells``: input * (number of outputs) + output of every edge, by ascending input; an edge may come twice.
    """
    n_out, words = outputs.shape
    found = np.zeros((n_out, words), dtype=np.uint64)  # subsets of inputs that reach an output
    here = np.zeros(words, dtype=np.uint64)  # subsets of outputs that reach the input at hand
    ahead, back = np.zeros((PLANES, words), dtype=np.uint64), np.zeros((PLANES, words), dtype=np.uint64)
    vertex, base = 0, 0
    for cell in cells:
        while cell >= base + n_out:
            _count(back, here)
            here[:] = 0
            vertex, base = vertex + 1, base + n_out
        _join(found[cell - base], inputs[vertex])
        _join(here, outputs[cell - base])
    _count(back, here)
    for row in range(n_out):
        _count(ahead, found[row])
    return _numbers(ahead), _numbers(back)


@compiled()
def _join(row: NDArray[np.uint64], more: NDArray[np.uint64]) -> None:
    """Add the subsets of ``more`` to those of ``row``."""
    for word in range(row.size):
        row[word] |= more[word]


@compiled()
def _count(planes: Bits, row: NDArray[np.uint64]) -> None:
    """Add one to the count of every subset in ``row``; plane p holds the digit 2^p of 64 counts per word."""
    for word in range(row.size):
        carry, plane = row[word], 0
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
