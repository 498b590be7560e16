"""A named stream for libraries that draw from the global generators of Python, numpy and torch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from prunelib.models.build import global_stream
from prunelib.seeds import derive


@contextmanager
def library_stream(seed: int, purpose: str, *parts: str | int) -> Iterator[None]:
    """Seed all three global generators from (seed, purpose, parts) inside the block and put their states back.

    timm's transforms and mixing take no generator, so this is how their draws get a named stream.
    """
    stream = derive(seed, purpose, *parts)
    python, numbers = random.getstate(), np.random.get_state()
    random.seed(stream)
    np.random.seed(stream % 2**32)
    try:
        with global_stream(seed, purpose, *parts):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
