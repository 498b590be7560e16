"""What a ranking method ranks and how much of it stays: a density, or as many weights as an expander keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from prunelib.masks.mask import Mask, from_scores
from prunelib.masks.repair import Ranking
from prunelib.methods.common import Found, Prune, Repair, Scope, covered, repaired, selected
from prunelib.methods.expander.budgets import edges_at
from prunelib.methods.expander.layers import masked_layers
from prunelib.tasks.base import Task, prunable


@dataclass(frozen=True)
class Quota:
    """How much a ranking keeps: int(density * N) entries of the N ranked ones, or int(layers[name] * n) of each tensor.

    ``weights``: the shapes of all prunable weights in definition order where some are not ranked and stay dense.
    """

    density: float
    layers: dict[str, float]
    weights: dict[str, torch.Size] = field(default_factory=dict)

    def narrowed(self, scores: Mapping[str, Tensor], kept: Mask, part: float, scope: Scope) -> Mask:
        """Return the mask of the int(density^part * N) (at least 1) highest scores and of ties with the lowest of them.

        Nothing that ``kept`` has given up comes back.
        """
        groups = [[name] for name in scores] if scope == "local" else [list(scores)]
        masks = {}
        for group in groups:
            flat = torch.cat([scores[name].reshape(-1) for name in group])
            density = (self.layers[group[0]] if scope == "local" else self.density) ** part
            least = flat.kthvalue(flat.numel() - max(int(density * flat.numel()), 1) + 1).values
            masks |= {name: (scores[name] >= least).cpu() & kept[name] for name in group}
        return Mask({name: masks[name] for name in scores})

    def keep(
        self, task: Task, scores: Mapping[str, Tensor], generator: torch.Generator, scope: Scope, repair: Repair
    ) -> Found:
        """Return the mask of the highest scores, repaired if it is dead; unranked weights are kept."""
        if scope == "local":
            parts = {name: from_scores({name: score}, self.layers[name], generator) for name, score in scores.items()}
            mask = Mask({name: parts[name][name] for name in scores})
        else:
            mask = from_scores(scores, self.density, generator)
        found = repaired(task, mask, Ranking(scores, self.density), generator, repair)
        if not self.weights:
            return found
        whole = {
            name: found.mask[name] if name in found.mask else torch.ones(shape, dtype=torch.bool)
            for name, shape in self.weights.items()
        }
        return Found(Mask(whole), figures=found.figures)


def quota(
    task: Task, model: nn.Module, budget: Mapping[str, Any], prune: Prune | None, dense_first: bool
) -> tuple[dict[str, nn.Parameter], Quota]:
    """Return the parameters to rank and how many stay.

    A density counts what is ranked: the weights of every layer, or all parameters. A degree d ranks the weights of the
    layers that expanders mask and keeps as many as the simple biregular graphs have, per layer max(n_in, n_out) *
    min(d, n_in, n_out) kernels; the other layers (the classifier, with ``dense_first`` the first one) stay dense.
    Raises MethodError when a degree leaves nothing to prune.
    """
    if budget["kind"] == "density":
        chosen = selected(model, covered(prune))
        return chosen, Quota(budget["value"], dict.fromkeys(chosen, budget["value"]))
    layers = masked_layers(model, task.kind == "classify", dense_first)
    weights = prunable(model)
    counts = {
        name: edges_at("rreg", layer, budget["value"], name) * layer.groups * layer.kernel
        for name, layer in layers.items()
    }
    sizes = {name: layer.size for name, layer in layers.items()}
    return {name: weights[name] for name in layers}, Quota(
        share(sum(counts.values()), sum(sizes.values())),
        {name: share(count, sizes[name]) for name, count in counts.items()},
        {name: weight.shape for name, weight in weights.items()},
    )


def share(count: int, size: int) -> float:
    """Return a density for which int(density * size) is ``count``, whatever floating point makes of the product."""
    return min((count + 0.5) / size, 1.0)
