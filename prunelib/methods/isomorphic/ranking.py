"""Which channels go: rank within sets of groups, keep a floor in every group, round widths to a multiple."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch import Tensor

from prunelib.methods.isomorphic.groups import Group

Mode = Literal["isomorphic", "global", "local"]
Kind = Literal["channels", "head dims", "heads"]


@dataclass(frozen=True)
class Rules:
    """How to rank.

    mode: what competes: groups of equal signature ("isomorphic"), all groups ("global"), each group alone ("local").
    round_to: kept widths are the nearest multiple of this. min_keep: share of a group's channels that always stays.
    heads, head_dims: ratio for attention heads and for dimensions per head, relative to that for channels; 0 = keep.
    """

    mode: Mode
    round_to: int = 1
    min_keep: float = 0.0
    heads: float = 0.0
    head_dims: float = 1.0


@dataclass(frozen=True, eq=False)
class Units:
    """What is removed one by one from a group: channels, or whole heads, or one dimension of every head."""

    group: Group
    kind: Kind
    scores: Tensor
    order: Tensor  # unit ids from the least important; ties in a drawn order
    floor: int  # at least this many stay
    multiple: int


class Ranking:
    """Scores sorted once; what a ratio removes is then arithmetic, so that a budget can be searched for."""

    def __init__(
        self, groups: list[Group], scores: Mapping[str, Tensor], rules: Rules, generator: torch.Generator
    ) -> None:
        """Split groups into units and units into sets; ``generator`` breaks ties."""
        self.rules = rules
        units = [found for group in groups for found in _units(group, scores[group.name], rules, generator)]
        self.sets: dict[tuple[str, str], list[Units]] = {}
        for found in units:
            self.sets.setdefault((found.kind, _scope(found.group, rules.mode)), []).append(found)
        self._ranked = [_rank(members, generator) for members in self.sets.values()]

    @property
    def limits(self) -> list[int]:
        """How many units could go from each set at most."""
        return [len(ranked) for ranked in self._ranked]

    def counts(self, ratio: float) -> tuple[int, ...]:
        """Return how many units go from each set at one ratio: n - int(n · (1 - weight · ratio)), floors permitting."""
        found = []
        for members, ranked in zip(self.sets.values(), self._ranked, strict=True):
            total = sum(len(units.order) for units in members)
            share = min(1.0, ratio * self._weight(members[0].kind))
            found.append(min(total - int(total * (1 - share)), len(ranked)))
        return tuple(found)

    def removed(self, counts: Sequence[int]) -> dict[str, Tensor]:
        """Return the channels to remove by group name (ascending ids) when ``counts[i]`` units go from set i.

        Removals are nested: larger counts remove all that smaller ones do, and more.
        """
        parts: dict[str, list[Tensor]] = {}
        for count, members, ranked in zip(counts, self.sets.values(), self._ranked, strict=True):
            gone = torch.bincount(ranked[:count], minlength=len(members)).tolist()
            for units, number in zip(members, gone, strict=True):
                kept = _rounded(units, len(units.order) - number)
                lost = units.order[: len(units.order) - kept]
                parts.setdefault(units.group.name, []).append(_channels(units, lost))
        return {name: torch.cat(found).unique() for name, found in parts.items()}

    def _weight(self, kind: Kind) -> float:
        return {"channels": 1.0, "heads": self.rules.heads, "head dims": self.rules.head_dims}[kind]


def _rank(members: list[Units], generator: torch.Generator) -> Tensor:
    """Return, for all units of a set that may go, the index of the member that owns each, least important first."""
    free = [units.order[: len(units.order) - units.floor] for units in members]
    scores = torch.cat([units.scores[ids] for units, ids in zip(members, free, strict=True)])
    owners = torch.cat([torch.full((len(ids),), index) for index, ids in enumerate(free)])
    draw = torch.randperm(len(scores), generator=generator)
    return owners[draw[torch.argsort(scores[draw], stable=True)]]


def _scope(group: Group, mode: Mode) -> str:
    return {"isomorphic": group.signature, "global": "all", "local": group.name}[mode]


def _units(group: Group, scores: Tensor, rules: Rules, generator: torch.Generator) -> list[Units]:
    """Return a group's units; the score of a unit is the mean over its channels (over heads, or over a head's dims)."""
    table = scores.reshape(group.blocks, -1)
    if group.attention is None:
        multiple = rules.round_to if group.blocks == 1 else 1
        return [_make(group, "channels", table.mean(0), multiple, rules, generator)]
    found = []
    if rules.head_dims:
        found.append(_make(group, "head dims", table.mean(0), rules.round_to, rules, generator))
    if rules.heads:
        found.append(_make(group, "heads", table.mean(1), 1, rules, generator))
    return found


def _make(group: Group, kind: Kind, scores: Tensor, multiple: int, rules: Rules, generator: torch.Generator) -> Units:
    draw = torch.randperm(len(scores), generator=generator)
    order = draw[torch.argsort(scores[draw], stable=True)]
    floor = min(len(scores), max(multiple, ceil(rules.min_keep * len(scores))))
    return Units(group, kind, scores, order, floor, multiple)


def _rounded(units: Units, kept: int) -> int:
    """Return the nearest allowed number of kept units: a multiple, at least the floor, at most all of them."""
    step, size = units.multiple, len(units.order)
    if kept == size:
        return size
    low = -(-units.floor // step) * step
    return min(size, max(low, int(kept / step + 0.5) * step))


def _channels(units: Units, lost: Tensor) -> Tensor:
    """Translate unit ids to the channels they stand for in the group."""
    blocks, length = units.group.blocks, units.group.size // units.group.blocks
    if units.kind == "heads":
        return (lost[:, None] * length + torch.arange(length)).flatten()
    return (torch.arange(blocks)[:, None] * length + lost).flatten()
