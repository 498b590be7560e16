"""OES: learn, at random initialisation, with which probability each parameter of a network is kept.

Source: Optimal Eye Surgeon (ICML 2024), its mask-learning step; the weights never change, one logit per parameter does.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import functional_call
from tqdm import tqdm

from prunelib.masks.mask import Mask
from prunelib.measure.image import psnr
from prunelib.methods.common import Found, Prune, Repair, ranked, selected
from prunelib.methods.noise import Uniform
from prunelib.options import Count, NonNegative, Positive
from prunelib.registry import register
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.base import Task

SMOOTH = 1e-6  # added to a probability inside the logarithms of the divergence
SAMPLES = 10  # soft masks that the last of the figures multiplies
TINY = 1e-20  # least uniform draw: the noise stays finite
PIECE = 2**18  # entries worked on at a time on a CPU
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
    repair: Literal["none", "layer", "weights"] = "none",
) -> Found:
    """Keep the int(density * N) parameters whose learned logit is highest, over all tensors at once.

    minimise over l:  E_m loss(G(w * m)) + kl * sum_i KL(sigmoid(l_i) || density),
    m = sigmoid((l + log u - log(1 - u)) / temperature), u ~ U(0, 1)^N

    Adam(lr, eps 1e-8) from l = 0, one soft sample per step. ``prune`` says which parameters may go: "all" (biases and
    norms too, as published) or the "weights" of convolutions and linear layers; ``repair`` what is done to a dead
    mask (``prunelib.masks.repair``). Returns the mask, ``LogitSearch.figures`` and, each ``log_every`` steps and at the
    last one, the columns step (0-based), loss (that step's, with the divergence) and mean_logit (after the step). With
    a checkpointer the search goes on from its newest state, with the same bits.
    """
    density = budget["value"]
    if density == 1:  # the prior would keep everything with certainty: nothing to learn
        return Found(Mask.ones(selected(task.build(), prune)))
    search = LogitSearch(task, density, prune, kl, temperature, lr, generator)
    state = checkpointer.load() if checkpointer else None
    if state is not None:
        search.restore(state)
    batches = itertools.islice(task.batches("search", steps), search.done, None)
    for batch in tqdm(batches, desc="mask search", initial=search.done, total=steps, disable=None):
        if checkpointer and checkpointer.due():
            checkpointer.save(search.state())
        logged = search.done % log_every == 0 or search.done == steps - 1
        divergence = search.divergence() if logged else 0
        loss = search.step(batch)
        if logged:
            search.log(loss + divergence)
    return search.found(generator, repair)


class LogitSearch:
    """One logit per selected parameter, all in one flat vector (N,); the network's own weights stay as they are.

    All vectors of N entries are allocated once and worked through in pieces that fit a cache: on a CPU fresh memory
    and passes over main memory cost as much as the noise itself.
    """

    def __init__(
        self,
        task: Task,
        prior: float,
        prune: Prune,
        kl: float,
        temperature: float,
        lr: float,
        generator: torch.Generator,
    ) -> None:
        """Start every logit at 0, that is at keep probability 1/2; 0 < prior < 1."""
        self.task, self.prior, self.kl, self.temperature, self.done = task, prior, kl, temperature, 0
        self.history: dict[str, list[float]] = {"step": [], "loss": [], "mean_logit": []}
        self.model = task.build().train().requires_grad_(False)
        chosen = selected(self.model, prune)
        self._shapes = {name: parameter.shape for name, parameter in chosen.items()}
        self.weights = _flat(chosen.values())
        self.logits = torch.zeros_like(self.weights)
        self._gates, self._masked, self._slope = (torch.empty_like(self.weights) for _ in range(3))
        self._leaves = {name: part.detach().requires_grad_() for name, part in self._views(self._masked).items()}
        self._noise = Uniform(self.weights.numel(), generator, task.device)
        # One fused pass over N entries; eps decides how fast a logit without data gradient drifts to the prior.
        self._adam = torch.optim.Adam([self.logits], lr=lr, eps=1e-8, fused=True)

    def step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Draw one soft mask, update the logits once, return the data loss before the update (0-dimensional)."""
        leaves = self.masked()
        loss = self.task.loss(functional_call(self.model, leaves, batch[0]), batch[1])
        self.descend(torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True))
        return loss.detach()

    def masked(self) -> dict[str, Tensor]:
        """Return the weights times the current step's soft mask: leaves of a graph, valid until the next call."""
        self.sample(self.done)
        for weights, gates, masked in self._pieces(self.weights, self._gates, self._masked):
            torch.mul(weights, gates, out=masked)
        return self._leaves

    def descend(self, slopes: Iterable[Tensor]) -> None:
        """Update the logits once, from the data loss's gradients in the leaves that ``masked`` returned."""
        _flat(slopes, self._slope)
        for slope, weights, gates, logits in self._pieces(self._slope, self.weights, self._gates, self.logits):
            slope.mul_(weights).div_(self.temperature)
            sigmoid_backward(slope, gates, grad_input=slope)
            slope.add_(kl_slope(logits, self.prior), alpha=self.kl)
        self.logits.grad = self._slope
        self._adam.step()
        self.done += 1

    def sample(self, step: int) -> Tensor:
        """Return the soft mask of one step in [0, 1]; two Gumbel noises' difference is one logistic noise."""
        noise = self._noise.draw(step)
        for uniform, logits, gates in self._pieces(noise, self.logits, self._gates):
            torch.logit(uniform, eps=TINY, out=gates).add_(logits).div_(self.temperature).sigmoid_()
        return self._gates

    def divergence(self) -> Tensor:
        """Return the divergence's part of the objective, 0-dimensional."""
        return self.kl * kl_divergence(self.logits, self.prior)

    def log(self, objective: Tensor, name: str = "") -> None:
        """Add the row of the step just taken, whose objective is given; ``name`` tells the search from others."""
        row = float(self.done - 1), objective.item(), self.logits.mean().item()
        for column, value in zip(self.history.values(), row, strict=True):
            column.append(value)
        log.info("mask search%s, step %d: loss %.5f, mean logit %.4f", name, *row)

    def found(self, generator: torch.Generator, repair: Repair) -> Found:
        """Return the mask of the logits of now, repaired if it is dead, with history and figures."""
        ranking = ranked(self.task, self.scores(), self.prior, generator, repair=repair)
        return Found(ranking.mask, self.history, self.figures(ranking.mask, self.done) | ranking.figures)

    @torch.no_grad()
    def figures(self, mask: Mask, steps: int) -> dict[str, float | str]:
        """Return the found mask's figures: what the authors print after a search of ``steps`` steps.

        threshold: lowest kept logit, if any; mean_logit: of all entries. Task losses of the untrained network: loss_det
        under the mask, loss_single under the mask times one soft sample, loss_multiple under the mask times ten;
        psnr_det (dB): of the picture drawn under the mask, where the task knows the clean one. The samples are those of
        steps after the last. Source: OES's option mask_opt (det, single, multiple).
        """
        inputs, target = next(iter(self.task.batches("figures", 1)))
        masks = {name: mask.get(name, torch.ones(shape)) for name, shape in self._shapes.items()}
        gates = _flat(masks.values()).to(self.logits)
        output = self._forward(gates, inputs)
        found = {"mean_logit": self.logits.mean().item(), "loss_det": self.task.loss(output, target).item()}
        if mask.kept:
            found["threshold"] = self.logits[gates > 0].min().item()
        for sample in range(SAMPLES):
            gates *= self.sample(steps + sample)
            if sample == 0:
                found["loss_single"] = self.task.loss(self._forward(gates, inputs), target).item()
        found["loss_multiple"] = self.task.loss(self._forward(gates, inputs), target).item()
        clean = getattr(self.task, "clean", None)
        return found if clean is None else found | {"psnr_det": psnr(self.task.crop(output), clean).item()}

    def _forward(self, gates: Tensor, inputs: Tensor) -> Tensor:
        """Return the network's output with its untrained weights times ``gates`` (N,)."""
        return functional_call(self.model, self._views(self.weights * gates), inputs)

    def state(self) -> dict[str, Any]:
        """Return all that an exact resume needs."""
        return {"done": self.done, "logits": self.logits, "adam": self._adam.state_dict(), "history": self.history}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.done, self.history = state["done"], state["history"]
        self.logits.copy_(state["logits"])
        self._adam.load_state_dict(state["adam"])

    def scores(self) -> dict[str, Tensor]:
        """Return the logits by parameter name and shape."""
        return self._views(self.logits)

    def _views(self, flat: Tensor) -> dict[str, Tensor]:
        """Return the entries of each parameter in its shape, undoing ``_flat``."""
        parts = flat.split([shape.numel() for shape in self._shapes.values()])
        return {
            name: part.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1) if len(shape) > 2 else part.view(shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def _pieces(self, *vectors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        size = PIECE if vectors[0].device.type == "cpu" else vectors[0].numel()
        return zip(*(vector.split(size) for vector in vectors), strict=True)


def _flat(tensors: Iterable[Tensor], out: Tensor | None = None) -> Tensor:
    """Join tensors into one vector, filters with their input channels last: the layout that runs fastest on a CPU."""
    return torch.cat(
        [tensor.movedim(1, -1).reshape(-1) if tensor.dim() > 2 else tensor.reshape(-1) for tensor in tensors], out=out
    )


def kl_divergence(logits: Tensor, prior: float) -> Tensor:
    """Return the sum over entries of KL(Bernoulli(p) || Bernoulli(prior)) in nats, p = sigmoid(logit), 0 < prior < 1.

    KL = p log((p + e) / prior) + (1 - p) log((1 - p + e) / (1 - prior)) with e = 1e-6.
    """
    keep = torch.sigmoid(logits)
    drop = 1 - keep
    return (keep * torch.log((keep + SMOOTH) / prior) + drop * torch.log((drop + SMOOTH) / (1 - prior))).sum()


def kl_slope(logits: Tensor, prior: float) -> Tensor:
    """Return the gradient of ``kl_divergence`` in the logits l for e = 0: p (1 - p) (l - logit(prior))."""
    return sigmoid_backward(logits - math.log(prior / (1 - prior)), torch.sigmoid(logits))
