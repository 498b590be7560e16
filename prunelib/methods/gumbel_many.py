"""OES's mask search for K tasks of one size side by side: the masks of K single searches, in one pass each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from prunelib.errors import ConfigError
from prunelib.masks.mask import Mask
from prunelib.methods.common import Found, Prune, Repair, selected
from prunelib.methods.gumbel import LogitSearch
from prunelib.models.stacked import Stacked
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.picture import PictureTask
from prunelib.tasks.stacked import stack


def gumbel_many(
    tasks: Sequence[PictureTask],
    budget: Mapping[str, Any],
    generators: Sequence[torch.Generator],
    checkpointer: Checkpointer | None = None,
    *,
    steps: int = 60000,
    lr: float = 0.01,
    kl: float = 1e-9,
    temperature: float = 0.2,
    prune: Prune = "all",
    log_every: int = 1000,
    repair: Repair = "none",
) -> list[Found]:
    """Find K masks as K calls of ``gumbel`` with the same options would, task k by generator k; results in order.

    Each search keeps its own logits, noise and Adam, so it draws what the single search draws; the K masked networks
    run as one. Masks, histories and figures are those of single searches up to the rounding of grouped convolutions.
    With a checkpointer all K go on from its newest state, with the same bits on a CPU. Raises ConfigError for models of
    different architectures, images of different sizes or lists of different lengths.

    Example, three noises of one photograph:
        tasks = [Denoise(photo, model, seed) for seed in range(3)]
        streams = [generator(task.seed, "search") for task in tasks]
        masks = [found.mask for found in gumbel_many(tasks, {"kind": "density", "value": 0.05}, streams, steps=2000)]
    """
    if len(tasks) != len(generators):
        raise ConfigError(f"gumbel many: got {len(tasks)} tasks and {len(generators)} generators.")
    density = budget["value"]
    if density == 1:  # the prior would keep everything with certainty: nothing to learn
        return [Found(Mask.ones(selected(task.build(), prune))) for task in tasks]
    many = SearchMany(
        [
            LogitSearch(task, density, prune, kl, temperature, lr, stream)
            for task, stream in zip(tasks, generators, strict=True)
        ]
    )
    state = checkpointer.load() if checkpointer else None
    if state is not None:
        many.restore(state)
    with tqdm(total=steps, initial=many.done, desc=f"{len(tasks)} mask searches", disable=None) as bar:
        while many.done < steps:
            if checkpointer and checkpointer.due():
                checkpointer.save(many.state())
            many.step(logged=many.done % log_every == 0 or many.done == steps - 1)
            bar.update()
    return [search.found(stream, repair) for search, stream in zip(many.searches, generators, strict=True)]


class SearchMany:
    """K logit searches that share their forward and backward passes."""

    def __init__(self, searches: Sequence[LogitSearch]) -> None:
        """Join searches of equal architecture and image size."""
        self.inputs, self.targets = stack([search.task for search in searches])
        self.searches = searches
        self.networks = Stacked([search.model for search in searches])
        self._losses = torch.vmap(searches[0].task.loss)

    @property
    def done(self) -> int:
        """Steps taken."""
        return self.searches[0].done

    def step(self, logged: bool) -> Tensor:
        """Take one step of every search; add a row to each history when asked to; return the data losses (K,)."""
        divergences = [search.divergence() for search in self.searches] if logged else []
        leaves = [search.masked() for search in self.searches]
        stacked = {name: torch.stack([row[name] for row in leaves]) for name in leaves[0]}
        losses = self._losses(self.networks(self.inputs, stacked), self.targets)
        flat = [leaf for row in leaves for leaf in row.values()]
        slopes = torch.autograd.grad(losses.sum(), flat, materialize_grads=True)
        for index, search in enumerate(self.searches):
            search.descend(slopes[index * len(leaves[0]) : (index + 1) * len(leaves[0])])
        for index, divergence in enumerate(divergences):
            self.searches[index].log(losses[index].detach() + divergence, f" {index}")
        return losses.detach()

    def state(self) -> dict[str, Any]:
        """Return all that an exact resume needs."""
        return {"searches": [search.state() for search in self.searches]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        for search, saved in zip(self.searches, state["searches"], strict=True):
            search.restore(saved)
