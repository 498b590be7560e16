"""Expander masks: each layer keeps the k×k kernels along the edges of a random bipartite graph of its channels.

No data and no weights are looked at. Convolutions and linear layers are sparse, the classifier stays dense.
Source: Stewart, Michieli, Ozay, "Data-Free Model Pruning at Initialization via Expanders", CVPR-W 2023.
"""

from __future__ import annotations

from typing import Literal

import torch

from prunelib import registry
from prunelib.masks.mask import Mask
from prunelib.methods.expander.draw import Budget, Rules, draw
from prunelib.methods.expander.layers import mask_of
from prunelib.options import Count, Word
from prunelib.registry import register
from prunelib.tasks.base import Task


@register("method", "expander", stage="mask", parent="none", budgets=("degree", "density"))
def expander(
    task: Task,
    budget: Budget,
    generator: torch.Generator,
    *,
    family: Word = "rreg",
    candidates: Count | None = None,
    allocation: Literal["degree", "erk"] = "degree",
    share_graphs: bool = False,
    dense_first: bool = False,
    shortcuts: bool = True,
    only: list[str] | None = None,
    dense: list[str] | None = None,
) -> Mask:
    """Keep kernels along random graphs of a registered ``family``: rreg, xnet, random ... (``list family`` has all).

    A degree is that of the side of a layer which the family names; a density is met by the common degree that keeps as
    many weights. ``candidates``: graphs drawn per layer, the best expander is kept (default: the family's own number);
    ``allocation``: "erk" spreads as many weights over the layers by Erdos-Renyi-Kernel; ``share_graphs``: layers of the
    same sides get the same graph (as the authors' code has it); ``dense_first``: leave the first layer dense (the
    paper's ResNets do); ``shortcuts``: prune the 1×1 shortcuts of residual networks too; ``only`` and ``dense``:
    patterns of the layers that alone are pruned and that stay dense, names with * and ? or ":conv", ":linear",
    ":depthwise", ":pointwise".
    Raises MethodError for an impossible budget or pattern. ``generator`` is not used: every layer has its own stream.
    """
    wanted = candidates or registry.entry("family", family).facts.get("candidates", 1)
    rules = Rules(family, wanted, allocation, share_graphs, dense_first, shortcuts, only, dense)
    model = task.build()
    return mask_of(draw(rules, model, budget, task.seed, task.kind == "classify"), model)
