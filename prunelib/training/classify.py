"""The classification loop: one bare loop with hooks; a mask is enforced at every step, a killed run resumes exactly."""

from __future__ import annotations

import copy
import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from prunelib.errors import ConfigError
from prunelib.masks.mask import Mask
from prunelib.measure.accuracy import accuracy
from prunelib.methods.callbacks import Callback
from prunelib.models.build import global_stream
from prunelib.registry import register
from prunelib.seeds import generator
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.classify import Classify, Split
from prunelib.training.augment import augment
from prunelib.training.recipes import optimizer, rate
from prunelib.training.result import Trained

log = logging.getLogger(__name__)


@register("loop", "classify")
def train_classifier(
    task: Classify,
    model: nn.Module,
    recipe: Mapping[str, Any],
    *,
    mask: Mask | None = None,
    callback: Callback | None = None,
    checkpointer: Checkpointer | None = None,
) -> Trained:
    """Train ``model`` in place for ``recipe["epochs"]`` epochs, pruned weights held at zero; test once, at the end.

    ``recipe`` has the fields of ``prunelib.config.ClassifyRecipe``. ``enforce`` "leaky" masks gradients only: pruned
    weights keep their initial values and merely decay (what the expanders' code does). ``amp`` "bf16" computes training
    passes in bfloat16; weights, masks, optimizer and evaluation stay float32. Order, augmentation and dropout
    are streams of (seed, purpose, epoch); with a checkpointer the run goes on from the last saved epoch, with the same
    bits on a CPU. History: epoch (1-based), lr, loss and top1 (of training batches), top1_val, loss_val (NaN without
    such a split) and the callback's columns. Metrics: top1, top3, top5, loss (test), val_top1, val_loss, with the last
    epoch's weights or, with ``select`` "best", those of the first epoch with the highest top1_val.
    """
    if recipe["select"] == "best" and task.count("val") == 0:
        raise ConfigError("recipe.select: got 'best', but the data set has no validation split. Allowed here: last.")
    run = _Training(task, model, recipe, mask, callback or Callback())
    state = checkpointer.load() if checkpointer else None
    if state is not None:
        run.restore(state)
    epochs = range(run.done, recipe["epochs"])
    for _ in tqdm(epochs, initial=run.done, total=recipe["epochs"], desc="training", unit="epoch", disable=None):
        run.epoch()
        if checkpointer and checkpointer.due():
            checkpointer.save(run.state())
    return run.result()


def evaluate(
    task: Classify,
    model: nn.Module,
    split: Split,
    batch_size: int,
    callback: Callback | None = None,
    change: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, float | None]:
    """Return top1, top3, top5 and loss of one split in evaluation mode; the model's mode is put back.

    ``change`` is applied to the whole images of every batch, in place of cutting out their centre.
    """
    forward = (callback or Callback()).forward
    training = model.training
    model.eval()
    batches = task.fold(split, batch_size, whole=change is not None)
    if change is not None:
        batches = ((change(images), labels) for images, labels in batches)
    found = accuracy(lambda images: forward(model, images), batches)
    model.train(training)
    return found


class _Training:
    """A training under way: everything an epoch changes and a resume needs."""

    def __init__(
        self, task: Classify, model: nn.Module, recipe: Mapping[str, Any], mask: Mask | None, callback: Callback
    ) -> None:
        self.layout = torch.channels_last if recipe["channels_last"] else torch.contiguous_format
        model = model.train().to(memory_format=self.layout)
        self.task, self.model, self.recipe, self.callback = task, model, recipe, callback
        self.enforcer = mask.enforcer(model) if mask is not None else None
        self.strict = recipe["enforce"] == "strict"
        self._zero_pruned()
        self.optimizer = optimizer(recipe, model)
        self.callback.begin(model, self.optimizer)
        self.done = self.steps = 0
        self.columns: dict[str, list[float]] = {}
        self.step_ms: list[float] = []
        self.best: dict[str, Any] | None = None

    def epoch(self) -> None:
        """Train one epoch, evaluate the validation split, add a row to the history."""
        row = {"epoch": self.done + 1.0, "lr": rate(self.recipe, self.done)}
        for group in self.optimizer.param_groups:
            group["lr"] = row["lr"]
        with global_stream(self.task.seed, "dropout", self.done):
            row |= self._pass()
        extra = self.callback.after_epoch(self.model, self.done)
        found = self._evaluate("val")
        row |= {"top1_val": _number(found["top1"]), "loss_val": _number(found["loss"]), **extra}
        for column, value in row.items():
            self.columns.setdefault(column, []).append(value)
        self.done += 1
        if self.recipe["select"] == "best" and (self.best is None or row["top1_val"] > self.best["top1_val"]):
            self.best = copy.deepcopy({"top1_val": row["top1_val"], **self._weights()})
        log.info("epoch %s", ", ".join(f"{column} {value:.6g}" for column, value in row.items()))

    def _pass(self) -> dict[str, float]:
        """Go through the training split once; the mean loss and accuracy are those of the batches as they came."""
        order = generator(self.task.seed, "order", self.done)
        changes = generator(self.task.seed, "augment", self.done)
        totals, count, steps = torch.zeros(2, dtype=torch.float64, device=self.task.device), 0, 0
        start = time.perf_counter()
        for images, labels in self.task.fold("train", self.recipe["batch_size"], order, whole=True):
            totals += self._step(self._changed(images, changes), labels)
            count, steps = count + len(labels), steps + 1
        loss, hits = totals.tolist()  # waits for a GPU
        self.step_ms.append(1000 * (time.perf_counter() - start) / steps)
        self.steps += steps
        return {"loss": loss / count, "top1": hits / count}

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one optimizer step; return (summed loss, hits) of the batch."""
        self.callback.before_step(self.model, (images, labels))
        with torch.autocast(self.task.device.type, torch.bfloat16, enabled=self.recipe["amp"] == "bf16"):
            logits = self.callback.forward(self.model, images)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=self.recipe["label_smoothing"])
        self.optimizer.zero_grad()
        loss.backward()
        if self.enforcer:
            self.enforcer.gradients_()
        self.optimizer.step()
        if type(self.callback) is not Callback:  # a hook may have written weights; the step keeps zeros at zero
            self._zero_pruned()
        self.callback.after_step(self.model)
        return torch.stack([loss.detach() * len(labels), (logits.detach().argmax(1) == labels).sum()])

    def _zero_pruned(self) -> None:
        if self.enforcer and self.strict:
            self.enforcer.weights_()

    def result(self) -> Trained:
        """Settle the chosen epoch's weights, evaluate validation and test on them, return everything."""
        if self.best is not None:
            self._restore_weights(self.best)
        mask = self.callback.finish(self.model)
        self.model.to(memory_format=torch.contiguous_format)
        test, validation = self._evaluate("test"), self._evaluate("val")
        metrics = test | {"val_top1": validation["top1"], "val_loss": validation["loss"]}
        metrics |= self.callback.metrics(self.model)
        step_ms = statistics.median(self.step_ms) if self.step_ms else None
        return Trained(self.columns, metrics, mask=mask, steps=self.steps, step_ms=step_ms)

    def _evaluate(self, split: Split) -> dict[str, Any]:
        change = None
        if self.recipe["evaluate"] == "augmented":
            random = generator(self.task.seed, "evaluate", split, self.done)
            change = partial(self._changed, random=random)
        return evaluate(self.task, self.model, split, self.recipe["batch_size"], self.callback, change)

    def _changed(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Return whole images as the network is to see them in training."""
        return augment(images, self.recipe["augment"], random, self.task.crop).contiguous(memory_format=self.layout)

    def _weights(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "callback": self.callback.state()}

    def _restore_weights(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.callback.restore(state["callback"])

    def state(self) -> dict[str, Any]:
        """Return what an exact resume needs, as it is at an epoch's end."""
        counts = {"done": self.done, "steps": self.steps, "columns": self.columns, "step_ms": self.step_ms}
        return {**counts, **self._weights(), "optimizer": self.optimizer.state_dict(), "best": self.best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self._restore_weights(state)
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.steps, self.best = state["done"], state["steps"], state["best"]
        self.columns, self.step_ms = state["columns"], state["step_ms"]
        self._zero_pruned()


def _number(value: float | None) -> float:
    return math.nan if value is None else value
