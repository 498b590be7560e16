"""Batch norms of a chosen state: running statistics measured afresh for the sub-network that is left."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from prunelib.methods.ising.gates import NORMS, Units, evaluating, gated_forward
from prunelib.tasks.classify import Classify


@torch.no_grad()
def recalibrate_(model: nn.Module, task: Classify, units: Units, gates: Mapping[str, Tensor], batches: int) -> None:
    """Set running statistics to the mean over training batches of the gated network's own; nothing else changes.

    While the state still changed, the statistics were those of many sub-networks. ``gates``: as in ``gated_forward``.
    Every state sees the same ``batches``. Dropout is off.
    """
    norms = [module for module in model.modules() if isinstance(module, NORMS) and module.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    with evaluating(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None  # the plain mean over batches
        try:
            for x, _ in task.batches("recalibrate", batches):
                gated_forward(model, units, gates, x)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.eval()
                norm.momentum = momentum
