"""Named random streams: every generator is derived from (seed, purpose) and from nothing else.

Separate purposes (noise, input, init, search, order, ties ...) never share a stream, so a run draws the same mask on a
CPU or a GPU, whichever job runs first and whatever other purposes have drawn. Streams are made on the CPU.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    import torch


def derive(seed: int, purpose: str, *parts: str | int) -> int:
    """Derive a 63-bit seed: the first 8 bytes of sha256("seed/purpose/part/...") without the sign bit."""
    text = "/".join([str(int(seed)), purpose, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, purpose: str, *parts: str | int) -> torch.Generator:
    """Return a CPU torch generator for one purpose of one seed."""
    import torch

    return torch.Generator("cpu").manual_seed(derive(seed, purpose, *parts))


def numpy_generator(seed: int, purpose: str, *parts: str | int) -> numpy.random.Generator:
    """Return a numpy generator (PCG64) for one purpose of one seed."""
    import numpy

    return numpy.random.Generator(numpy.random.PCG64(derive(seed, purpose, *parts)))
