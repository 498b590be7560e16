"""Uniform noise for every step of a search: fast, the same on any device and for any number of threads."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

LANES = 4  # streams that are drawn side by side; a fixed number, so that the numbers do not depend on the threads


class Uniform:
    """U(0, 1)^N float32 for each step, a function of (key, step) alone: a resumed search needs no generator's state."""

    def __init__(self, size: int, generator: torch.Generator, device: torch.device) -> None:
        """Draw the key from ``generator``; all numbers are made on the CPU and moved to ``device``."""
        self.key = int(torch.randint(2**62, (1,), generator=generator))
        self.device = device
        self._room = [torch.empty(size, pin_memory=device.type == "cuda") for _ in range(2)]
        self._edges = [size * lane // LANES for lane in range(LANES + 1)]
        self._pool = ThreadPoolExecutor(min(LANES, torch.get_num_threads()))
        self._ahead: dict[int, list[Future[None]]] = {}

    def draw(self, step: int) -> Tensor:
        """Return the noise of one step, valid until the draw after the next; a GPU computes while the next is made."""
        for part in self._ahead.pop(step, None) or self._start(step):
            part.result()
        values = self._room[step % 2]
        if self.device.type != "cpu":
            self._ahead = {step + 1: self._start(step + 1)}
            values = values.to(self.device)
        return values

    def _start(self, step: int) -> list[Future[None]]:
        return [self._pool.submit(self._fill, step, lane) for lane in range(LANES)]

    def _fill(self, step: int, lane: int) -> None:
        part = self._room[step % 2][self._edges[lane] : self._edges[lane + 1]].numpy()
        stream = np.random.SFC64(np.random.SeedSequence([self.key, step, lane]))
        np.random.Generator(stream).random(out=part, dtype=np.float32)
