"""Repair: a mask that leaves a dead network is changed as little as it takes for the network to live."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch import Tensor

from prunelib.masks.liveness import Liveness
from prunelib.masks.mask import Mask, best

SHARES = tuple(tenth / 10 for tenth in range(1, 11))


@dataclass(frozen=True)
class Ranking:
    """What a mask was cut from: scores (high is kept), density asked for, which entries may be kept at all (or all)."""

    scores: Mapping[str, Tensor]
    density: float
    among: Mapping[str, Tensor] | None = None

    def of(self, wanted: Callable[[str, Tensor], Tensor]) -> dict[str, Tensor]:
        """Return the scores (float64, CPU) where ``wanted(name, allowed)`` is true, and below all others elsewhere."""
        scores = {name: score.detach().double().cpu() for name, score in self.scores.items()}
        lowest = min(float(score.min()) for score in scores.values()) - 1
        return {name: score.masked_fill(~wanted(name, self.allowed(name)), lowest) for name, score in scores.items()}

    def allowed(self, name: str) -> Tensor:
        """Return which entries of one tensor may be kept."""
        return torch.ones(self.scores[name].shape, dtype=torch.bool) if self.among is None else self.among[name]


def repair(
    mask: Mask,
    ranking: Ranking,
    how: Literal["layer", "weights"],
    check: Callable[[Mask], Liveness],
    weights: Collection[str],
    generator: torch.Generator,
) -> tuple[Mask, str]:
    """Return a living mask and what was done to it and why, or the mask itself and "" when it lives as it is.

    "layer": every tensor keeps a minimum (``with_minimum``) of share 0.1, 0.2 ... 1, the first share that lives; the
    number kept stays. "weights": only the ``weights`` of convolutions and linear layers stay in the mask, int(density
    * their number) of them; norms and biases are no longer pruned. A mask that stays dead is returned as it was, with
    a text that says so.
    """
    report = check(mask)
    if report.alive:
        return mask, ""
    if how == "weights":
        changed = only_weights(ranking, weights, generator)
        if check(changed).alive:
            return changed, f"only convolution and linear weights are pruned, because else {report.why}"
        return mask, f"in vain: with all norms and biases kept the network is dead too ({report.why})"
    for share in SHARES:
        changed = with_minimum(mask, ranking, share, generator)
        if changed is None:
            break
        if check(changed).alive:
            return changed, f"every tensor keeps at least {share:.1f} of the density, because else {report.why}"
    return mask, f"in vain: a minimum for every tensor leaves the network dead ({report.why})"


def with_minimum(mask: Mask, ranking: Ranking, share: float, generator: torch.Generator) -> Mask | None:
    """Return a mask of as many entries in which every tensor keeps at least max(1, ceil(share * density * size)).

    Each tensor's minimum is its best entries (all that may be kept, where those are fewer); the others come from
    ``mask``, best first over all tensors. None when the minima add up to more than ``mask`` keeps.
    """
    sure = {}
    for name, score in ranking.of(lambda name, allowed: allowed).items():
        least = max(1, ceil(round(share * ranking.density * score.numel(), 9)))  # 0.1 * 0.4 * 100 is 4.000000000000001
        least = min(least, int(ranking.allowed(name).sum()))
        sure[name] = best({name: score}, least, generator)[name]
    room = mask.kept - sum(int(part.sum()) for part in sure.values())
    if room < 0:
        return None
    rest = best(ranking.of(lambda name, allowed: mask[name] & ~sure[name]), room, generator)
    return Mask({name: sure[name] | rest[name] for name in mask})


def only_weights(ranking: Ranking, weights: Collection[str], generator: torch.Generator) -> Mask:
    """Return the mask of the int(density * N) best of the N entries of ``weights`` alone, of those that may be kept."""
    scores = {name: score for name, score in ranking.of(lambda name, allowed: allowed).items() if name in weights}
    possible = sum(int(ranking.allowed(name).sum()) for name in scores)
    wanted = int(ranking.density * sum(score.numel() for score in scores.values()))
    return best(scores, min(wanted, possible), generator)
