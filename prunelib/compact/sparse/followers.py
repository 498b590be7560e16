"""Batch norm and max-pooling that keep the batch-last layout of sparse convolutions, and are as ever for other inputs.

A network's own modules change their class and nothing else: names, parameters, state and hooks stay.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prunelib.compact.sparse.functions import Pool, is_batch_last, kernels


class BatchLastNorm(nn.BatchNorm2d):
    """Batch norm; a batch-last image is to torch one long image of the same channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised images, laid out like ``x``."""
        if not is_batch_last(x):
            return super().forward(x)
        return (
            super()
            .forward(x.permute(1, 2, 3, 0).unsqueeze(0).flatten(2, 3))
            .squeeze(0)
            .unflatten(1, x.shape[2:])
            .permute(3, 0, 1, 2)
        )


class BatchLastPool(nn.MaxPool2d):
    """Max-pooling; batch-last images keep their layout where windows touch and nothing is padded."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled images."""
        window, stride = _pair(self.kernel_size), _pair(self.stride)
        plain = window == stride and _pair(self.padding) == (0, 0) and _pair(self.dilation) == (1, 1)
        plain = plain and not self.ceil_mode and not self.return_indices and window[0] * window[1] < 256
        fits = is_batch_last(x) and x.shape[2] >= window[0] and x.shape[3] >= window[1]
        if not (plain and fits and x.dtype in (torch.float32, torch.float64) and x.device.type == "cpu" and kernels()):
            return super().forward(x)
        return Pool.apply(x, window)


FOLLOWERS: dict[type[nn.Module], type[nn.Module]] = {nn.BatchNorm2d: BatchLastNorm, nn.MaxPool2d: BatchLastPool}
LEADERS = {follower: plain for plain, follower in FOLLOWERS.items()}


def follow_(model: nn.Module) -> None:
    """Let a network's batch norms and max-poolings keep the batch-last layout."""
    for module in model.modules():
        module.__class__ = FOLLOWERS.get(type(module), type(module))


def unfollow_(model: nn.Module) -> None:
    """Undo ``follow_``."""
    for module in model.modules():
        module.__class__ = LEADERS.get(type(module), type(module))


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
