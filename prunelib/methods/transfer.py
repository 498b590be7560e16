"""Mask transfer: train with the mask that was found for another task, from fresh initial weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from prunelib.masks.mask import Mask
from prunelib.options import Word
from prunelib.registry import register
from prunelib.tasks.base import Task


@register("method", "transfer", stage="mask", parent="source", start="init", budgets=("density",))
def transfer(
    task: Task, budget: dict[str, Any], generator: torch.Generator, *, of: Word, from_task: Word, parent: Path
) -> Mask:
    """Return the mask that method ``of`` found on task ``from_task`` at the same budget.

    The grid takes it from the next seed of the block, so that it meets other initial weights and another input than
    those it was found with (OES, mask transfer); with one seed only they are the same.
    """
    return Mask.load(parent)
