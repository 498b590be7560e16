"""Expander masks: each layer keeps the k×k kernels along the edges of a random bipartite graph of its channels.

No data and no weights are looked at. Convolutions and linear layers are sparse, the classifier stays dense. Every mask
comes with one row of graph diagnostics per sparse layer (see ``spectra.describe``).
Source: Stewart, Michieli, Ozay, "Data-Free Model Pruning at Initialization via Expanders", CVPR-W 2023.
"""

from __future__ import annotations

from typing import Literal

import torch

from prunelib.methods.expander.draw import Budget, Drawn, Rules, find
from prunelib.options import Count, Word
from prunelib.registry import register
from prunelib.tasks.base import Task


@register("method", "rreg", stage="mask", parent="none", budgets=("degree", "density"))
def rreg(
    task: Task,
    budget: Budget,
    generator: torch.Generator,
    *,
    candidates: Count = 1,
    allocation: Literal["degree", "erk"] = "degree",
    share_graphs: bool = False,
    dense_first: bool = False,
    shortcuts: bool = True,
    only: list[str] | None = None,
    dense: list[str] | None = None,
) -> Drawn:
    """Keep kernels along random biregular graphs: every channel has as many neighbours as any other on its side.

    The larger side of a layer has the given degree; a density is met by the common degree that keeps as many weights.
    ``candidates``: graphs drawn per layer, the best expander is kept; ``allocation``: "erk" spreads as many weights
    over the layers by Erdos-Renyi-Kernel; ``share_graphs``: layers of the same sides get the same graph (as the
    authors' code has it); ``dense_first``: leave the first layer dense (the paper's ResNets do); ``shortcuts``: prune
    the 1×1 shortcuts of residual networks too; ``only`` and ``dense``: patterns of the layers that alone are pruned and
    that stay dense, names with * and ? or ":conv", ":linear", ":depthwise", ":pointwise".
    Raises MethodError for an impossible budget or pattern. ``generator`` is not used: every layer has its own stream.
    """
    return find(Rules("rreg", candidates, allocation, share_graphs, dense_first, shortcuts, only, dense), task, budget)


@register("method", "rreg_merge", stage="mask", parent="none", budgets=("degree", "density"))
def rreg_merge(
    task: Task,
    budget: Budget,
    generator: torch.Generator,
    *,
    candidates: Count = 100,
    allocation: Literal["degree", "erk"] = "degree",
    share_graphs: bool = False,
    dense_first: bool = False,
    shortcuts: bool = True,
    only: list[str] | None = None,
    dense: list[str] | None = None,
) -> Drawn:
    """Keep kernels along the authors' graphs: stubs matched at random, parallel edges merged, best of 100.

    Options as in rreg.
    """
    return find(
        Rules("rreg_merge", candidates, allocation, share_graphs, dense_first, shortcuts, only, dense), task, budget
    )


@register("method", "xnet", stage="mask", parent="none", budgets=("degree", "density"))
def xnet(
    task: Task,
    budget: Budget,
    generator: torch.Generator,
    *,
    candidates: Count = 1,
    allocation: Literal["degree", "erk"] = "degree",
    share_graphs: bool = False,
    dense_first: bool = False,
    shortcuts: bool = True,
    only: list[str] | None = None,
    dense: list[str] | None = None,
) -> Drawn:
    """Keep kernels along left-regular graphs: every input channel feeds the given number of outputs.

    Options as in rreg.
    """
    return find(Rules("xnet", candidates, allocation, share_graphs, dense_first, shortcuts, only, dense), task, budget)


@register("method", "random_graph", stage="mask", parent="none", budgets=("degree", "density"))
def random_graph(
    task: Task,
    budget: Budget,
    generator: torch.Generator,
    *,
    candidates: Count = 1,
    allocation: Literal["degree", "erk"] = "degree",
    share_graphs: bool = False,
    dense_first: bool = False,
    shortcuts: bool = True,
    only: list[str] | None = None,
    dense: list[str] | None = None,
) -> Drawn:
    """Keep random kernels, in every layer exactly as many as the inputs' mean degree says.

    Options as in rreg.
    """
    return find(
        Rules("random", candidates, allocation, share_graphs, dense_first, shortcuts, only, dense), task, budget
    )


@register("method", "expander", stage="mask", parent="none", budgets=("degree", "density"))
def expander(
    task: Task,
    budget: Budget,
    generator: torch.Generator,
    *,
    family: Word = "ramanujan",
    candidates: Count = 1,
    allocation: Literal["degree", "erk"] = "degree",
    share_graphs: bool = False,
    dense_first: bool = False,
    shortcuts: bool = True,
    only: list[str] | None = None,
    dense: list[str] | None = None,
) -> Drawn:
    """Keep kernels along graphs of any registered family, such as ramanujan, right_regular or xnet_original.

    Options as in rreg.
    """
    return find(Rules(family, candidates, allocation, share_graphs, dense_first, shortcuts, only, dense), task, budget)
