"""The dense baseline: nothing is pruned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from prunelib.masks.mask import Mask
from prunelib.registry import register
from prunelib.tasks.base import Task, prunable


@register("method", "dense", stage="none", parent="none", budgets=("full",))
def dense(task: Task, budget: Mapping[str, Any], generator: torch.Generator) -> Mask:
    """Return the mask that keeps every prunable weight; the workflow trains dense networks without finding it."""
    return Mask.ones(prunable(task.build()))
