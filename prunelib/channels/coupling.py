"""Coupled channels as plain data: groups, their members, and what a removed channel takes along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from prunelib.models.attention import Attention
from prunelib.models.widths import Side


@dataclass(frozen=True, eq=False)
class Member:
    """One side of a layer (or one axis of a bare parameter) that loses its slices together with the group.

    ``channels[i]`` is the slice that goes when the group's channel ``roots[i]`` goes.
    """

    name: str
    side: Side
    channels: Tensor
    roots: Tensor
    axis: int | None = None  # set for bare parameters only


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that can only be removed together: ``size`` of them, in ``blocks`` runs which must stay equally long.

    ``signature`` is the structural tag that isomorphic groups share (the paper's graph isomorphism, section 3.2, as the
    authors' code tests it: the ordered classes and sides of all entries; sizes are not compared).
    """

    name: str
    size: int
    blocks: int
    signature: str
    members: tuple[Member, ...]
    attention: Attention | None = None


@dataclass(frozen=True)
class Fixed:
    """A group that stays as it is, and why."""

    name: str
    size: int
    why: str


def removed_positions(groups: list[Group], removed: Mapping[str, Tensor]) -> dict[tuple[str, Side, int | None], Tensor]:
    """Translate removed channels (ascending ids by group name) to positions per (layer, side, axis), ascending."""
    positions: dict[tuple[str, Side, int | None], list[Tensor]] = {}
    for group in groups:
        gone = torch.zeros(group.size, dtype=torch.bool)
        gone[removed.get(group.name, torch.empty(0, dtype=torch.long))] = True
        for member in group.members:
            hit = member.channels[gone[member.roots]]
            if len(hit):
                positions.setdefault((member.name, member.side, member.axis), []).append(hit)
    return {key: torch.cat(parts).unique() for key, parts in positions.items()}


def layout_after(group: Group, removed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return (kept heads, kept dimensions per head) of an attention group, ascending, once the channels are gone."""
    table = torch.ones(group.size, dtype=torch.bool)
    if removed is not None:
        table[removed] = False
    table = table.reshape(group.attention.heads, group.attention.head_dim)
    return table.any(1).nonzero().flatten(), table.any(0).nonzero().flatten()
