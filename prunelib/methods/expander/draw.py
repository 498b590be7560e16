"""Draw the graphs of a whole network within a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from torch import nn

from prunelib.errors import MethodError
from prunelib.methods.expander import graphs
from prunelib.methods.expander.budgets import Allocation, edges_at, edges_by_degree, edges_by_erk, kept
from prunelib.methods.expander.layers import Layer, masked_layers
from prunelib.tasks.base import prunable

Budget = Mapping[str, Any]


@dataclass(frozen=True)
class Rules:
    """The options of the method; see ``mask.expander``."""

    family: str
    candidates: int
    allocation: Allocation
    share_graphs: bool
    dense_first: bool
    shortcuts: bool
    only: Sequence[str] | None
    dense: Sequence[str] | None


def draw(rules: Rules, model: nn.Module, budget: Budget, seed: int, classifier: bool) -> dict[str, sparse.csr_array]:
    """Draw one graph per masked layer, by the name of its weight; groups have one each, as diagonal blocks.

    ``budget``: {"kind": "degree" | "density", "value"}; a density counts all prunable weights, dense layers included.
    ``classifier``: the last layer stays dense. Raises MethodError for an impossible budget.
    """
    try:
        layers = masked_layers(model, classifier, rules.dense_first, rules.shortcuts, rules.only, rules.dense)
        edges = _edges(rules, model, layers, budget)
    except MethodError as error:
        raise MethodError(f"{rules.family}: {error}") from None
    found = {}
    for name, layer in layers.items():
        stream = f"{layer.n_in}x{layer.n_out}" if rules.share_graphs else name
        streams = [stream] if layer.groups == 1 else [f"{stream}/{group}" for group in range(layer.groups)]
        amount = {"edges": edges[name]} if edges else {"degree": float(budget["value"])}
        blocks = [
            graphs.sample(
                rules.family, layer.n_in, layer.n_out, seed=seed, layer=at, candidates=rules.candidates, **amount
            )
            for at in streams
        ]
        found[name] = blocks[0] if layer.groups == 1 else sparse.csr_array(sparse.block_diag(blocks, dtype=np.bool_))
    return found


def _edges(rules: Rules, model: nn.Module, layers: Mapping[str, Layer], budget: Budget) -> dict[str, int] | None:
    """Return the edges per group of every layer, or None where the family makes what it likes of the common degree."""
    if budget["kind"] == "degree":
        by_degree = {name: edges_at(rules.family, layer, budget["value"], name) for name, layer in layers.items()}
        return edges_by_erk(layers, kept(by_degree, layers)) if rules.allocation == "erk" else None
    size = sum(weight.numel() for weight in prunable(model).values())
    fixed = size - sum(layer.size for layer in layers.values())
    least = fixed + sum(layer.groups * layer.kernel for layer in layers.values())
    allowed = int(budget["value"] * size)
    if allowed < least:
        raise MethodError(
            f"density {budget['value']:g} is too small; the dense layers and one kernel in each of the other layers "
            f"take {least} of {size} weights. Allowed: {least / size:.4g} or more."
        )
    if rules.allocation == "erk":
        return edges_by_erk(layers, allowed - fixed)
    return edges_by_degree(rules.family, layers, allowed - fixed)
