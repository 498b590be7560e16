"""What several mask methods share."""

from __future__ import annotations

from typing import Literal

from torch import nn

from prunelib.tasks.base import prunable

Prune = Literal["weights", "all"]


def selected(model: nn.Module, prune: Prune) -> dict[str, nn.Parameter]:
    """Return the parameters a mask covers: convolution and linear weights, or every parameter, in definition order."""
    return prunable(model) if prune == "weights" else dict(model.named_parameters())
