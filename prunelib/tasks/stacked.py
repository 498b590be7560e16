"""K tasks of one picture each as one: their inputs and targets stacked, after a check that they fit together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from prunelib.errors import ConfigError
from prunelib.tasks.base import Task


def stack(tasks: Sequence[Task]) -> tuple[Tensor, Tensor]:
    """Return the inputs (K, 1, C, h, w) and the targets (K, 1, channels, H, W) of K tasks with one picture each.

    Raises ConfigError for no task, or for tasks that differ in size, number of channels, precision or device.
    """
    if not tasks:
        raise ConfigError("side by side: got no task. Allowed: one task or more.")
    pairs = [next(iter(task.batches("fit", 1))) for task in tasks]
    for index, pair in enumerate(pairs):
        for what, mine, first in zip(("input", "image"), pair, pairs[0], strict=True):
            if (mine.shape, mine.dtype, mine.device) != (first.shape, first.dtype, first.device):
                raise ConfigError(
                    f"side by side: the {what} of task {index} has {_words(mine)}, that of task 0 {_words(first)}. "
                    "Allowed: pictures of one size and mode; group them by size or crop them."
                )
    inputs, targets = zip(*pairs, strict=True)
    return torch.stack(inputs), torch.stack(targets)


def _words(tensor: Tensor) -> str:
    _, channels, height, width = tensor.shape
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"{height} x {width} pixels in {channels} channels ({kind}, {tensor.device})"
