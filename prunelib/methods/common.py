"""What several mask methods share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunelib import registry
from prunelib.errors import MethodError
from prunelib.masks.mask import Mask, from_scores
from prunelib.masks.repair import Ranking
from prunelib.masks.repair import repair as mend
from prunelib.tasks.base import Task, alive, prunable

Prune = Literal["weights", "all"]
Repair = Literal["none", "layer", "weights"]
Scope = Literal["global", "local"]


@dataclass(frozen=True)
class Found:
    """What a search returns: the mask, what it logged on the way (columns) and single figures of its result."""

    mask: Mask
    history: dict[str, list[float]] = field(default_factory=dict)
    figures: dict[str, float | str] = field(default_factory=dict)


def as_found(result: Mask | Found) -> Found:
    """Return what a method returned, a mask or Found, as Found."""
    return result if isinstance(result, Found) else Found(result)


def selected(model: nn.Module, prune: Prune) -> dict[str, nn.Parameter]:
    """Return the parameters a mask covers: convolution and linear weights, or every parameter, in definition order."""
    return prunable(model) if prune == "weights" else dict(model.named_parameters())


def covered(prune: Prune | None) -> Prune:
    """Return what a ranking method prunes where its option is left out (fidelity "upstream" prunes all anyway)."""
    return prune or "weights"


def check_options(method: str, **options: Any) -> None:
    """Raise MethodError where a method's options contradict each other, as its registered rule says."""
    problem = registry.load("option_rule", method)(options)
    if problem:
        raise MethodError(f"method '{method}': {problem}")


def nonzero(model: nn.Module) -> Mask:
    """Return the mask of every parameter that is not zero; fresh biases of norms are."""
    return Mask({name: parameter.detach() != 0 for name, parameter in model.named_parameters()})


def ranked(
    task: Task,
    scores: Mapping[str, Tensor],
    density: float,
    generator: torch.Generator,
    repair: Repair = "none",
) -> Found:
    """Keep the int(density * N) highest scores over all tensors, and repair the mask if it is dead."""
    mask = from_scores(scores, density, generator)
    return repaired(task, mask, Ranking(scores, density), generator, repair)


def repaired(task: Task, mask: Mask, ranking: Ranking, generator: torch.Generator, repair: Repair) -> Found:
    """Return a mask as found or, where it leaves a dead network, repaired, with the figure ``repaired`` (text)."""
    if repair == "none":
        return Found(mask)
    weights = prunable(task.build())
    mask, what = mend(mask, ranking, repair, lambda tried: alive(task, task.build(), tried), weights, generator)
    return Found(mask, figures={"repaired": what} if what else {})
