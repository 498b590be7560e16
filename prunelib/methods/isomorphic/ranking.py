"""Which channels go: rank within sets of groups, keep a floor in every group, round widths to a multiple."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, gcd
from typing import Literal

import torch
from torch import Tensor

from prunelib.channels.coupling import Group

Mode = Literal["isomorphic", "global", "local", "uniform"]
Kind = Literal["channels", "head dims", "heads"]
Change = tuple[int, int, int]  # (set, member of it, one step more or less)
Layout = tuple[int, int]  # (blocks, channels per block) of a group; (heads, dimensions per head) of attention


@dataclass(frozen=True)
class Rules:
    """How to rank.

    mode: what competes: groups of equal signature ("isomorphic"), all groups ("global"), each group alone ("local",
    "uniform"; a budget lets single groups of "local" take a step more or less, "uniform" holds all to one ratio).
    round_to: kept widths are multiples of this, or untouched. min_keep: at least so many channels of a group (or
    dimensions per head) stay, and one head per block. max_ratio: at most this share of a group's channels goes.
    heads, head_dims: ratio for attention heads and for dimensions per head, relative to that for channels; 0 = keep.
    """

    mode: Mode
    round_to: int = 1
    min_keep: int = 1
    max_ratio: float = 1.0
    heads: float = 0.0
    head_dims: float = 1.0


@dataclass(frozen=True, eq=False)
class Units:
    """What is removed one by one from a group: channels, or whole heads, or one dimension of every head.

    order: unit ids from the least important, ties in a drawn order. dense: how many the dense network has. widths: the
    allowed numbers of kept units, from all there are now down to the floor.
    """

    group: Group
    kind: Kind
    scores: Tensor
    order: Tensor
    dense: int
    widths: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RankedSet:
    """Units that compete, and the order in which their groups take steps from one allowed width to the next.

    steps[i] is the position in ``members`` whose turn the i-th step is; totals[i] is how many units are gone after i.
    """

    members: tuple[Units, ...]
    steps: tuple[int, ...]
    totals: tuple[int, ...]


class Ranking:
    """Scores sorted once; what a ratio removes is then arithmetic, so that a budget can be searched for."""

    def __init__(
        self,
        groups: list[Group],
        scores: Mapping[str, Tensor],
        rules: Rules,
        generator: torch.Generator,
        dense: Mapping[str, Layout] | None = None,
    ) -> None:
        """Split groups into units and units into sets; ``generator`` breaks ties.

        dense: the groups' layouts in the dense network, to which ratios and caps refer, where it was pruned before.
        """
        self.rules = rules
        sets: dict[tuple[str, str], list[Units]] = {}
        for group in groups:
            layout = (dense or {}).get(group.name, layout_of(group))
            for units in _units(group, scores[group.name], rules, generator, layout):
                sets.setdefault((units.kind, _scope(group, rules.mode)), []).append(units)
        self.sets = [_rank(members, generator) for members in sets.values()]

    @property
    def limits(self) -> tuple[int, ...]:
        """How many steps every set could take at most."""
        return tuple(len(ranked.steps) for ranked in self.sets)

    def counts(self, ratio: float) -> tuple[int, ...]:
        """Return how many steps every set takes at one ratio.

        Of the dense network's n units int(n · (1 - weight · ratio)) are to stay; steps are taken as long as that brings
        the set's total nearer to it, or as near with less. So widths are rounded to the nearest multiple (halves down),
        and what one group's rounding leaves over goes to the group of the set that is nearest to its own next step.
        """
        return tuple(_nearest(ranked, ratio * self._weight(ranked.members[0].kind)) for ranked in self.sets)

    def exceptions(self, counts: Sequence[int]) -> Iterator[Change]:
        """Yield every (set, member, change) by which one group could take a step more or less than its turn."""
        for index, (count, ranked) in enumerate(zip(counts, self.sets, strict=True)):
            for member, units in enumerate(ranked.members):
                taken = ranked.steps[:count].count(member)
                yield from ((index, member, by) for by in (-1, 1) if 0 <= taken + by < len(units.widths))

    def removed(self, counts: Sequence[int], exception: Change | None = None) -> dict[str, Tensor]:
        """Return the channels to remove by group name (ascending ids) when set i takes ``counts[i]`` steps.

        Removals are nested: more steps remove all that fewer do, and more. ``exception``: one of ``exceptions``.
        """
        parts: dict[str, list[Tensor]] = {}
        for index, (count, ranked) in enumerate(zip(counts, self.sets, strict=True)):
            taken = torch.bincount(torch.tensor(ranked.steps[:count], dtype=torch.long), minlength=len(ranked.members))
            if exception is not None and exception[0] == index:
                taken[exception[1]] += exception[2]
            for units, number in zip(ranked.members, taken.tolist(), strict=True):
                lost = units.order[: len(units.order) - units.widths[number]]
                parts.setdefault(units.group.name, []).append(_channels(units, lost))
        return {name: torch.cat(found).unique() for name, found in parts.items()}

    def at_floor(self, removed: Mapping[str, Tensor]) -> set[str]:
        """Return the names of groups that have nothing left that may go once these channels are gone."""
        left: dict[str, list[bool]] = {}
        for units in (units for ranked in self.sets for units in ranked.members):
            kept = _kept(units, removed.get(units.group.name))
            left.setdefault(units.group.name, []).append(kept > units.widths[-1])
        return {name for name, free in left.items() if not any(free)}

    def _weight(self, kind: Kind) -> float:
        return {"channels": 1.0, "heads": self.rules.heads, "head dims": self.rules.head_dims}[kind]


def layout_of(group: Group) -> Layout:
    """Return a group's (blocks, channels per block)."""
    return group.blocks, group.size // group.blocks


def _nearest(ranked: RankedSet, ratio: float) -> int:
    now, dense = (sum(counts) for counts in zip(*((len(u.order), u.dense) for u in ranked.members), strict=True))
    wanted = now - int(dense * (1 - min(1.0, ratio)))
    above = min(bisect_left(ranked.totals, wanted), len(ranked.totals) - 1)
    return min((above, max(above - 1, 0)), key=lambda index: abs(ranked.totals[index] - wanted))


def _rank(members: list[Units], generator: torch.Generator) -> RankedSet:
    """Order all units of a set by score, and let each group step down where the ranking leaves it nearer to it.

    A group that is to go from width a to b does so once the ranking has taken it down to (a + b) / 2.
    """
    free = [units.order[: len(units.order) - units.widths[-1]] for units in members]
    scores = torch.cat([units.scores[ids] for units, ids in zip(members, free, strict=True)])
    owners = torch.cat([torch.full((len(ids),), index) for index, ids in enumerate(free)])
    draw = torch.randperm(len(scores), generator=generator)
    ranked = owners[draw[torch.argsort(scores[draw], stable=True)]]
    turns = []
    for index, units in enumerate(members):
        places = (ranked == index).nonzero().flatten().tolist()
        for above, below in zip(units.widths, units.widths[1:], strict=False):
            crossing = len(units.order) - (above + below) // 2  # how many must be gone for it
            turns.append((places[crossing - 1], index, above - below))
    turns.sort()
    steps = tuple(index for _, index, _ in turns)
    return RankedSet(tuple(members), steps, (0, *accumulate(change for _, _, change in turns)))


def _scope(group: Group, mode: Mode) -> str:
    return {"isomorphic": group.signature, "global": "all", "local": group.name, "uniform": group.name}[mode]


def _units(group: Group, scores: Tensor, rules: Rules, generator: torch.Generator, dense: Layout) -> list[Units]:
    """Return a group's units; the score of a unit is the mean over its channels (over heads, or over a head's dims)."""
    table = scores.reshape(group.blocks, -1)
    if group.attention is None:
        step, least = rules.round_to // gcd(rules.round_to, group.blocks), ceil(rules.min_keep / group.blocks)
        return [_make(group, "channels", table.mean(0), (dense[1], step, least), rules, generator)]
    found = []
    if rules.head_dims:
        found.append(
            _make(group, "head dims", table.mean(0), (dense[1], rules.round_to, rules.min_keep), rules, generator)
        )
    if rules.heads:
        found.append(_make(group, "heads", table.mean(1), (dense[0], 1, 1), rules, generator))
    return found


def _make(
    group: Group, kind: Kind, scores: Tensor, limits: tuple[int, int, int], rules: Rules, generator: torch.Generator
) -> Units:
    """``limits``: units in the dense network, the multiple that widths are rounded to, the least number that stays."""
    dense, step, least = limits
    draw = torch.randperm(len(scores), generator=generator)
    order = draw[torch.argsort(scores[draw], stable=True)]
    floor = max(least, 1, ceil(dense * (1 - rules.max_ratio) - 1e-9))  # less what binary fractions add
    lowest = -(-floor // step) * step
    below = range((len(scores) - 1) // step * step, lowest - 1, -step)
    return Units(group, kind, scores, order, dense, (len(scores), *below))


def _kept(units: Units, removed: Tensor | None) -> int:
    table = torch.ones(units.group.size, dtype=torch.bool)
    if removed is not None:
        table[removed] = False
    table = table.reshape(units.group.blocks, -1)
    return int(table.any(1 if units.kind == "heads" else 0).sum())


def _channels(units: Units, lost: Tensor) -> Tensor:
    """Translate unit ids to the channels they stand for in the group."""
    blocks, length = layout_of(units.group)
    if units.kind == "heads":
        return (lost[:, None] * length + torch.arange(length)).flatten()
    return (torch.arange(blocks)[:, None] * length + lost).flatten()
