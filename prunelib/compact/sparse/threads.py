"""Divide compiled loops among as many threads as torch uses; they run without the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np
import torch

PIECE = 1e6  # multiply-adds that are worth handing to another thread
PIECES = 4  # per thread, so that one which is held up leaves its work to the others


def share(work: Callable[[int, int], None], costs: np.ndarray) -> None:
    """Call work(low, high) on consecutive ranges that cover range(len(costs)) once, of about equal summed costs.

    costs: multiply-adds per item. Small works run in the calling thread.
    """
    threads = torch.get_num_threads()
    total = np.concatenate([[0.0], np.cumsum(costs, dtype=np.float64)])
    count = int(min(PIECES * threads, max(total[-1] // PIECE, 1))) if threads > 1 else 1
    bounds = np.searchsorted(total, np.linspace(0, total[-1], count + 1)[1:-1])
    pieces = iter([(int(low), int(high)) for low, high in pairwise([0, *bounds, len(costs)]) if low < high])
    helpers = [_pool(threads - 1).submit(_drain, work, pieces) for _ in range(min(threads, count) - 1)]
    _drain(work, pieces)
    for helper in helpers:
        if not helper.cancel():
            helper.result()


def _drain(work: Callable[[int, int], None], pieces: Iterable[tuple[int, int]]) -> None:
    for low, high in pieces:
        work(low, high)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="sparse")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has no threads but its first
