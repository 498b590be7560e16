"""OES: learn, at random initialisation, with which probability each parameter of a network is kept.

Source: Optimal Eye Surgeon (ICML 2024), its mask-learning step; the weights never change, one logit per parameter does.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import functional_call
from tqdm import tqdm

from prunelib.masks.mask import Mask, from_scores
from prunelib.methods.common import Prune, selected
from prunelib.options import Count, NonNegative, Positive
from prunelib.registry import register
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.base import Task

SMOOTH = 1e-6  # added to a probability inside the logarithms of the divergence
TINY = 1e-20  # least uniform draw: the noise stays finite
sigmoid_backward = torch.ops.aten.sigmoid_backward  # (g, y) -> g * y * (1 - y), one pass
log = logging.getLogger(__name__)


@register("method", "gumbel", stage="mask", parent="none", budgets=("density",))
def gumbel(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    checkpointer: Checkpointer | None = None,
    *,
    steps: Count = 60000,
    lr: Positive = 0.01,
    kl: NonNegative = 1e-9,
    temperature: Positive = 0.2,
    prune: Literal["all", "weights"] = "all",
    log_every: Count = 1000,
) -> tuple[Mask, dict[str, list[float]]]:
    """Keep the int(density * N) parameters whose learned logit is highest, over all tensors at once.

    minimise over l:  E_m loss(G(w * m)) + kl * sum_i KL(sigmoid(l_i) || density),
    m = sigmoid((l + log u - log(1 - u)) / temperature), u ~ U(0, 1)^N

    Adam(lr, eps 1e-8) from l = 0, one soft sample per step. ``prune`` says which parameters may go: "all" (biases and
    norms too, as published) or the "weights" of convolutions and linear layers. Returns the mask and, each
    ``log_every`` steps and at the last one, the columns step (0-based), loss (that step's, with the divergence) and
    mean_logit (after the step). With a checkpointer the search goes on from its newest state, with the same bits.
    """
    density = budget["value"]
    if density == 1:  # the prior would keep everything with certainty: nothing to learn
        return Mask.ones(selected(task.build(), prune)), {}
    search = LogitSearch(task, density, prune, kl, temperature, lr)
    history: dict[str, list[float]] = {"step": [], "loss": [], "mean_logit": []}
    state = checkpointer.load() if checkpointer else None
    start = search.restore(state, generator, history) if state is not None else 0
    batches = enumerate(itertools.islice(task.batches("search", steps), start, None), start)
    for step, batch in tqdm(batches, desc="mask search", initial=start, total=steps, disable=None):
        if checkpointer and checkpointer.due():
            checkpointer.save(search.state(step, generator, history))
        logged = step % log_every == 0 or step == steps - 1
        divergence = kl_divergence(search.logits, density) if logged else 0
        loss = search.step(batch, generator)
        if logged:
            row = float(step), (loss + kl * divergence).item(), search.logits.mean().item()
            for column, value in zip(history.values(), row, strict=True):
                column.append(value)
            log.info("mask search, step %d: loss %.5f, mean logit %.4f", *row)
    return from_scores(search.scores(), density, generator), history


class LogitSearch:
    """One logit per selected parameter, all in one flat vector (N,); the network's own weights stay as they are."""

    def __init__(self, task: Task, prior: float, prune: Prune, kl: float, temperature: float, lr: float) -> None:
        """Start every logit at 0, that is at keep probability 1/2; 0 < prior < 1."""
        self.task, self.prior, self.kl, self.temperature = task, prior, kl, temperature
        self.model = task.build().train().requires_grad_(False)
        chosen = selected(self.model, prune)
        self.shapes = {name: parameter.shape for name, parameter in chosen.items()}
        self.weights = torch.cat([parameter.reshape(-1) for parameter in chosen.values()])
        self.logits = torch.zeros_like(self.weights)
        # One fused pass over N entries; eps decides how fast a logit without data gradient drifts to the prior.
        self.adam = torch.optim.Adam([self.logits], lr=lr, eps=1e-8, fused=True)

    def step(self, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
        """Draw one soft mask, update the logits once, return the data loss before the update (0-dimensional)."""
        gates = self._sample(generator)
        masked = (self.weights * gates).requires_grad_()
        loss = self.task.loss(functional_call(self.model, self._views(masked), batch[0]), batch[1])
        (slope,) = torch.autograd.grad(loss, masked)
        slope = sigmoid_backward(slope.mul_(self.weights).div_(self.temperature), gates)
        self.logits.grad = slope.add_(kl_slope(self.logits, self.prior), alpha=self.kl)
        self.adam.step()
        return loss.detach()

    def state(self, step: int, generator: torch.Generator, history: dict[str, list[float]]) -> dict[str, Any]:
        """Return all that an exact resume before ``step`` needs."""
        return {
            "step": step,
            "logits": self.logits,
            "adam": self.adam.state_dict(),
            "generator": generator.get_state(),
            "history": history,
        }

    def restore(self, state: dict[str, Any], generator: torch.Generator, history: dict[str, list[float]]) -> int:
        """Take back what ``state`` returned, in place; return the step to go on with."""
        self.logits.copy_(state["logits"])
        self.adam.load_state_dict(state["adam"])
        generator.set_state(state["generator"])
        history.update(state["history"])
        return state["step"]

    def scores(self) -> dict[str, Tensor]:
        """Return the logits by parameter name and shape."""
        return self._views(self.logits)

    def _sample(self, generator: torch.Generator) -> Tensor:
        """Return a soft sample in [0, 1]; the difference of the Gumbel noises of two classes is one logistic noise."""
        uniform = torch.rand(self.logits.shape, generator=generator).to(self.logits.device)
        return uniform.logit_(eps=TINY).add_(self.logits).div_(self.temperature).sigmoid_()

    def _views(self, flat: Tensor) -> dict[str, Tensor]:
        parts = flat.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}


def kl_divergence(logits: Tensor, prior: float) -> Tensor:
    """Return the sum over entries of KL(Bernoulli(p) || Bernoulli(prior)) in nats, p = sigmoid(logit), 0 < prior < 1.

    KL = p log((p + e) / prior) + (1 - p) log((1 - p + e) / (1 - prior)) with e = 1e-6.
    """
    keep = torch.sigmoid(logits)
    drop = 1 - keep
    return (keep * torch.log((keep + SMOOTH) / prior) + drop * torch.log((drop + SMOOTH) / (1 - prior))).sum()


def kl_slope(logits: Tensor, prior: float) -> Tensor:
    """Return the gradient of ``kl_divergence`` in the logits, without its terms of order e.

    p (1 - p) (log((p + e) / (1 - p + e)) - logit(prior))
    """
    keep = torch.sigmoid(logits)
    odds = torch.logit((keep + SMOOTH).div_(1 + 2 * SMOOTH)).sub_(math.log(prior / (1 - prior)))
    return sigmoid_backward(odds, keep)
