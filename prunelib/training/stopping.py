"""When to stop fitting an image without knowing the clean one: two rules that watch a fit and never end it.

Moving variance (ES-WMV): Wang et al., Early Stopping for Deep Image Prior (TMLR 2023). Discrepancy principle: Morozov
(1966): stop when the residual is down to the noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

WINDOW = 10  # logged outputs; with a row each 10 steps it spans the published 100 steps
# Published: ten windows. A fit logs 40 to 200 rows in all, and the variance falls again once the noise is fitted.
PATIENCE = 2 * WINDOW


class MovingVariance:
    """The variance of the last ``window`` logged outputs x, and the output at its first lasting minimum.

    variance = 1/window sum_w ||x_w - mean||^2 / number of values. A new minimum makes the newest output the ``image``,
    until ``patience`` logged outputs in a row bring none: then the choice stands. In a fit that ends before that, the
    choice is the minimum so far; there is none in a fit of fewer outputs than the window.
    """

    def __init__(self, window: int = WINDOW, patience: int = PATIENCE) -> None:
        """Watch ``window`` >= 2 outputs at a time."""
        self.window, self.patience = window, patience
        self.image: Tensor | None = None
        self.index: int | None = None  # which logged output it is, counted from 0
        self._least = float("inf")
        self._seen = 0
        self._room: Tensor | None = None

    def add(self, output: Tensor) -> float | None:
        """Take one logged output, without gradient; return the variance, None before the window is full."""
        if self._room is None:
            self._room = output.new_zeros(self.window, *output.shape)
        self._room[self._seen % self.window] = output
        self._seen += 1
        if self._seen < self.window:
            return None
        variance = self._room.var(dim=0, correction=0).mean().item()
        waited = 0 if self.index is None else self._seen - 1 - self.index
        if variance < self._least and waited <= self.patience:
            self._least, self.index, self.image = variance, self._seen - 1, output.clone()
        return variance

    def state(self) -> dict[str, Any]:
        """Return what an exact resume needs, the window included."""
        return {
            "image": self.image,
            "index": self.index,
            "least": self._least,
            "seen": self._seen,
            "room": self._room,
        }

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take back what ``state`` returned, on a device."""
        self.index, self._least, self._seen = state["index"], state["least"], state["seen"]
        self.image, self._room = (None if state[name] is None else state[name].to(device) for name in ("image", "room"))


def discrepancy(losses: Sequence[float], sigma: float) -> int | None:
    """Return the index of the first mean squared error <= sigma^2, the noise's variance; None when there is none.

    Noise that is clipped to [0, 1] has less variance than sigma^2, so the rule stops a little early there.
    """
    return next((index for index, loss in enumerate(losses) if loss <= sigma**2), None)
