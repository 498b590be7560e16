"""Running statistics of batch norms in a step of several forward passes, possibly in several processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prunelib.training.distributed import World


class Running:
    """Moves the running statistics once in a step: to the weighted mean of where each part would have moved them.

    So they don't depend on how the parts are shared out, and momentum means the same as with one part.
    """

    def __init__(self, model: nn.Module) -> None:
        """Take the buffers of all batch norms of ``model``."""
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
        self.buffers = [buffer for norm in norms for buffer in norm.buffers(recurse=False)]
        self.start: list[Tensor] = []
        self.sums: list[Tensor] = []

    def begin(self) -> None:
        """Note where the statistics are, before the first part."""
        self.start = [buffer.clone() for buffer in self.buffers]
        self.sums = [torch.zeros_like(buffer, dtype=torch.float64) for buffer in self.buffers]

    def after_part(self, weight: float) -> None:
        """Note where a part has moved them, and put them back."""
        for buffer, start, total in zip(self.buffers, self.start, self.sums, strict=True):
            total.add_(buffer, alpha=weight)
            buffer.copy_(start)

    def end(self, world: World) -> None:
        """Move them."""
        if not self.buffers:
            return
        flat = world.total(torch.cat([total.flatten() for total in self.sums]))
        for buffer, part in zip(self.buffers, flat.split([buffer.numel() for buffer in self.buffers]), strict=True):
            moved = part.reshape(buffer.shape)
            buffer.copy_(moved if buffer.is_floating_point() else moved.round())
