"""Prune in rounds: score what is left, keep a little less of it, score again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from prunelib.masks.mask import Mask
from prunelib.methods.common import Scope
from prunelib.methods.saliency.quota import Quota

GONE = -1.0  # below every score: what has been pruned never comes back


def in_rounds(
    score: Callable[[], dict[str, Tensor]],
    chosen: Mapping[str, nn.Parameter],
    left: Quota,
    rounds: int,
    scope: Scope,
) -> dict[str, Tensor]:
    """Return the scores (not negative, but for what is pruned) of the last of ``rounds`` rounds.

    Round k sees the network with the density^((k - 1) / rounds) of ``chosen`` that scored best so far, the others at
    zero; ties stay until the last round.
    """
    original = {name: parameter.detach().clone() for name, parameter in chosen.items()}
    kept, scores = Mask.ones(original), {}
    for done in range(1, rounds + 1):
        masks = {name: mask.to(original[name].device) for name, mask in kept.items()}
        with torch.no_grad():
            for name, parameter in chosen.items():
                parameter.copy_(original[name] * masks[name])
        scores = {name: found.masked_fill_(~masks[name], GONE) for name, found in score().items()}
        if done < rounds:
            kept = left.narrowed(scores, kept, done / rounds, scope)
    return scores
