"""Gates as a mask: the units that an energy's search leaves open, projected to weights at an exact density."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from prunelib.errors import MethodError
from prunelib.masks.mask import Mask, from_scores
from prunelib.methods.common import Found
from prunelib.methods.ising.search import Search, ising
from prunelib.options import Count, Fraction, Positive, Word
from prunelib.registry import register
from prunelib.tasks.base import Task


@register("method", "gates", stage="mask", parent="none", budgets=("density",))
def gates(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    energy: Word = "ising",
    steps: Count = 200,
    lr: Positive = 0.01,
    search_every: Count = 1,
    candidates: Count = 8,
    p0: Fraction = 0.5,
    mutation: Fraction = 0.1,
    crossover: Fraction = 0.9,
) -> Found:
    """Search gates by an energy while a copy of the network trains, then keep the int(density * N) weights they open.

    The search is that of method "ising" (which see) with states that fit the density, over ``steps`` batches of the
    task under Adam(lr); the weights it trains are dropped, so that the mask is found before training like any other.
    What the best state leaves of the budget goes to further units, those first that most final states open, the last
    one in part. Energies that need classes ("margin") raise MethodError on other tasks. History: step, loss,
    energy_best, kept (in percent).
    """
    if energy == "margin" and task.kind != "classify":
        raise MethodError(f"method 'gates': energy 'margin' needs the logits of classes; task '{task.kind}' has none.")
    chances = {"p0": p0, "mutation": mutation, "crossover": crossover, "search_every": search_every}
    search = ising(task, budget, generator, energy=energy, candidates=candidates, **chances)
    if task.kind != "classify":  # a generator's norms see one image, always in training mode: states run at full width
        search.scene = replace(search.scene, narrower=None)
    states, history = _search(task, search, steps, lr)
    return Found(_projected(search, states, budget["value"], generator), history)


def _projected(search: Search, states: Tensor, density: float, generator: torch.Generator) -> Mask:
    """Return the mask of exactly int(density * N) weights: a weight's score is how early its units open."""
    state, kept = search.best.cpu(), search.scene.kept
    masks = [kept.mask(state)]
    votes = states.double().sum(dim=0) + torch.rand(len(state), generator=generator, dtype=torch.float64)
    for unit in votes.masked_fill(state, -1).argsort(descending=True).tolist():
        if masks[-1].kept >= int(density * masks[-1].size):
            break
        state[unit] = True
        masks.append(kept.mask(state))
    scores = {name: torch.stack([mask[name] for mask in masks]).double().sum(dim=0) for name in masks[0]}
    return from_scores(scores, density, generator)


def _search(task: Task, search: Search, steps: int, lr: float) -> tuple[Tensor, dict[str, list[float]]]:
    """Train a copy of the network under the best gates while they evolve; return the final states and the history."""
    model = task.build().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    search.begin(model, optimizer)
    history: dict[str, list[float]] = {"step": [], "loss": [], "energy_best": [], "kept": []}
    for step, (x, target) in enumerate(task.batches("search", steps)):
        search.before_step(model, (x, target))
        optimizer.zero_grad()
        loss = task.loss(search.forward(model, x), target)
        loss.backward()
        optimizer.step()
        search.after_step(model)
        kept = 100 * float(search.scene.kept.fraction(search.best[None])[0])
        row = (float(step), loss.item(), float(search.costs.min()), kept)
        for column, value in zip(history.values(), row, strict=True):
            column.append(value)
    return search.states.cpu(), history
