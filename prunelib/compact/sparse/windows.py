"""Which taps of a kernel meet which positions along one axis of a convolution, as tables for the compiled loops."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

Numbers = np.ndarray


class Axis(NamedTuple):
    """One axis of a convolution: positions of the input, the kernel and how it moves; ``before`` is the padding."""

    size: int
    kernel: int
    stride: int
    before: int
    after: int
    dilation: int

    @property
    def outputs(self) -> int:
        """Number of output positions; none when the kernel is longer than the padded input."""
        reach = self.dilation * (self.kernel - 1) + 1
        return max((self.size + self.before + self.after - reach) // self.stride + 1, 0)


class Taps(NamedTuple):
    """Runs of neighbouring positions that meet the same taps, each at neighbouring sources (int64).

    Run r covers positions first[r] ... first[r] + length[r] - 1. Its taps are those numbered pointers[r] ...
    pointers[r + 1] - 1 in ``tap``; ``source`` is where each lies at the run's first position.
    """

    first: Numbers
    length: Numbers
    pointers: Numbers
    tap: Numbers
    source: Numbers


@lru_cache(maxsize=1024)
def taps(axis: Axis, backward: bool = False, merge: bool = True) -> Taps:
    """Return the taps of every output and the inputs they read or, backward, of every input and the outputs it feeds.

    Without ``merge`` every position is a run of its own.
    """
    pairs: list[list[tuple[int, int]]] = [[] for _ in range(axis.size if backward else axis.outputs)]
    for output in range(axis.outputs):
        for tap in range(axis.kernel):
            source = output * axis.stride - axis.before + tap * axis.dilation
            if 0 <= source < axis.size:
                position, other = (source, output) if backward else (output, source)
                pairs[position].append((tap, other))
    starts = [at for at in range(len(pairs)) if at == 0 or not merge or pairs[at] != _moved(pairs[at - 1])]
    chosen = [pairs[at] for at in starts]
    flat = [pair for run in chosen for pair in run]
    return Taps(
        np.array(starts, dtype=np.int64),
        np.diff([*starts, len(pairs)]).astype(np.int64) if starts else np.zeros(0, dtype=np.int64),
        np.cumsum([0, *map(len, chosen)], dtype=np.int64),
        np.array([tap for tap, _ in flat], dtype=np.int64),
        np.array([source for _, source in flat], dtype=np.int64),
    )


def _moved(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(tap, source + 1) for tap, source in pairs]
