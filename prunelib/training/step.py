"""One optimizer step of a classifier: forward and backward through its parts, then one change of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from prunelib.masks.mask import Mask
from prunelib.methods.callbacks import Callback
from prunelib.models.build import global_stream
from prunelib.tasks.classify import Classify
from prunelib.training.distributed import current
from prunelib.training.feed import Part
from prunelib.training.objective import Objective, separate_heads_
from prunelib.training.recipes import frozen, optimizer
from prunelib.training.running import Running


class Stepper:
    """The network in training with all that a step changes: weights, optimizer, running statistics, averaged weights.

    ``judged`` is the network to evaluate: the averaged one where the recipe keeps an average (``ema``).
    """

    def __init__(
        self,
        task: Classify,
        model: nn.Module,
        recipe: Mapping[str, Any],
        mask: Mask | None,
        callback: Callback,
        teacher: nn.Module | None,
    ) -> None:
        """Prepare ``model``, which is in training mode; ``settle`` leaves it as one to use."""
        self.task, self.model, self.recipe, self.callback = task, model, recipe, callback
        self.world = current()
        self.enforcer = mask.enforcer(model) if mask is not None else None
        self.zero_pruned()
        self._still = frozen(model, recipe["freeze"])
        self._freeze(True)
        separate_heads_(model, recipe["distill"] is not None)
        self.optimizer = optimizer(recipe, model)
        self.objective = Objective(recipe, task.classes, task.seed, teacher)
        self.average = _average(model, recipe["ema"])
        self.judged: nn.Module = model if self.average is None else self.average.module
        self._network = self.world.shared(model)
        self._running = Running(model) if recipe["micro_batch"] is not None else None

    def step(self, parts: list[Part], epoch: int, number: int) -> tuple[Tensor, int]:
        """Take the ``number``-th step of an epoch; return (summed loss, hits) and images of this process's parts."""
        sums, count = [], 0
        if self._running:
            self._running.begin()
        for place, part in enumerate(parts):
            self.callback.before_step(self.model, (part.images, part.labels))
            stream = (epoch, number, part.number)
            with self.world.part(self._network, place == len(parts) - 1), self._noise(stream):
                loss, logits = self._forward(part, stream)
                if place == 0:
                    self.optimizer.zero_grad()
                # A backward pass in several processes averages over them; the step wants the sum over parts.
                scale = part.weight * self.world.size
                (loss if scale == 1 else loss * scale).backward()
            if self._running:
                self._running.after_part(part.weight)
            if part.weight:
                hits = (logits.detach().argmax(1) == part.labels).sum()
                sums.append(torch.stack([loss.detach() * len(part.labels), hits]).double())
                count += len(part.labels)
        if self._running:
            self._running.end(self.world)
        self._update()
        return sum(sums, torch.zeros(2, dtype=torch.float64, device=self.task.device)), count

    def _forward(self, part: Part, stream: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a part, and its logits."""
        images, target = self.objective.mixed(part.images, part.labels, *stream)
        with torch.autocast(self.task.device.type, torch.bfloat16, enabled=self.recipe["amp"] == "bf16"):
            output = self.callback.forward(self._network, images)
            return self.objective(output, images, target)

    def _noise(self, stream: tuple[int, ...]) -> AbstractContextManager[None]:
        """Return the context of a part's dropout: parts that may be another process's have streams of their own."""
        return nullcontext() if self._running is None else global_stream(self.task.seed, "dropout", *stream)

    def _update(self) -> None:
        """Change the weights, pruned ones back to zero."""
        if self.enforcer:
            self.enforcer.gradients_()
        if self.recipe["clip_norm"] is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe["clip_norm"])
        self.optimizer.step()
        if type(self.callback) is not Callback:  # a hook may have written weights; the step keeps zeros at zero
            self.zero_pruned()
        self.callback.after_step(self.model)
        if self.average is not None:
            self.average.update(self.model)

    def zero_pruned(self) -> None:
        """Put pruned weights to zero, unless the recipe leaks them."""
        if self.enforcer and self.recipe["enforce"] == "strict":
            self.enforcer.weights_()

    def set_rate(self, rate: float) -> None:
        """Set the learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def settle(self) -> None:
        """End training: ``model`` has the judged weights, and nothing of it is frozen."""
        self._freeze(False)
        separate_heads_(self.model, False)
        if self.judged is not self.model:
            self.model.load_state_dict(self.judged.state_dict())
            self.judged = self.model

    def _freeze(self, still: bool) -> None:
        for module in self._still:
            module.requires_grad_(not still).train(not still)

    def state(self) -> dict[str, Any]:
        """Return what an exact resume needs."""
        average = None if self.average is None else self.average.module.state_dict()
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "average": average}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])


def _average(model: nn.Module, decay: float | None) -> Any:
    """Return timm's exponential moving average of all weights and buffers, or None."""
    if decay is None:
        return None
    from timm.utils import ModelEmaV3  # takes a second, which only recipes with an average should spend

    return ModelEmaV3(model, decay=decay)
