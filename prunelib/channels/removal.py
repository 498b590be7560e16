"""Cut the chosen channels out of the network, in place, and put right what attention modules hold about their shape."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from prunelib.channels.coupling import Group, layout_after, removed_positions
from prunelib.models.attention import keep_heads_, keep_joint_temperature_, keep_temperature_, set_heads_
from prunelib.models.widths import keep_, replace_, settle_, width


def remove_(model: nn.Module, groups: list[Group], removed: Mapping[str, Tensor]) -> None:
    """Remove channels (ascending ids by group name) from every layer and parameter of their groups, in place."""
    for (name, side, axis), positions in removed_positions(groups, removed).items():
        if axis is None:
            layer = model.get_submodule(name)
            keep_(layer, side, complement(positions, width(layer, side)))
            continue
        path, _, attribute = name.rpartition(".")
        owner = model.get_submodule(path)
        old = getattr(owner, attribute)
        kept = complement(positions, old.shape[axis])
        replace_(owner, attribute, old.detach().index_select(axis, kept.to(old.device)))
    for group in groups:
        if group.attention is not None:
            module = model.get_submodule(group.attention.name)
            heads, dims = layout_after(group, removed.get(group.name))
            set_heads_(module, len(heads), len(dims))
            keep_heads_(module, group.attention, heads)
            keep_temperature_(module, group.attention, len(dims))
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            keep_joint_temperature_(module)
        settle_(module)


def kept_layout(group: Group, removed: Tensor | None) -> tuple[int, int]:
    """Return (heads, dimensions per head) of an attention group once the given channels are gone."""
    heads, dims = layout_after(group, removed)
    return len(heads), len(dims)


def complement(positions: Tensor, size: int) -> Tensor:
    """Return the ascending ids below ``size`` that are not in ``positions``."""
    kept = torch.ones(size, dtype=torch.bool)
    kept[positions] = False
    return kept.nonzero().flatten()
