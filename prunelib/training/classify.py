"""The classification loop: one bare loop with hooks; a mask is enforced at every step, a killed run resumes exactly."""

from __future__ import annotations

import copy
import logging
import math
import statistics
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from prunelib.errors import ConfigError
from prunelib.masks.mask import Mask
from prunelib.methods.callbacks import Callback
from prunelib.models.build import global_stream
from prunelib.registry import register
from prunelib.seeds import generator
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.classify import Classify, Split
from prunelib.training.augment import augment
from prunelib.training.distributed import current
from prunelib.training.evaluate import evaluate
from prunelib.training.feed import feed, steps
from prunelib.training.recipes import rate
from prunelib.training.result import Trained
from prunelib.training.step import Stepper

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
    teacher: nn.Module | None = None,
) -> Trained:
    """Train ``model`` in place for ``recipe["epochs"]`` epochs, pruned weights held at zero; test once, at the end.

    ``recipe`` has the fields of ``prunelib.recipes.ClassifyRecipe``. ``enforce`` "leaky" masks gradients only: pruned
    weights keep their initial values and merely decay (what the expanders' code does). ``amp`` "bf16" computes training
    passes in bfloat16; weights, masks, optimizer and evaluation stay float32. With ``ema`` the averaged weights are
    those evaluated, chosen and left in ``model``. Order, augmentation, mixing and dropout are streams of (seed,
    purpose, epoch); with a checkpointer the run goes on from the last saved epoch, with the same bits on a CPU.
    Processes that torchrun has started share the parts (``micro_batch``) of every step: the same result as one alone.
    ``teacher``: the network that ``distill`` learns from, with its weights. History: epoch (1-based), lr, loss and top1
    (of training batches), top1_val, loss_val (NaN without such a split) and the callback's columns. Metrics: top1,
    top3, top5, loss (test), val_top1, val_loss, with the last epoch's weights or, with ``select`` "best", those of the
    first epoch with the highest top1_val.
    """
    _check(task, recipe, callback, teacher)
    run = _Training(task, model, recipe, mask, callback or Callback(), teacher)
    state = checkpointer.load() if checkpointer else None
    if state is not None:
        run.restore(state)
    epochs, quiet = range(run.done, recipe["epochs"]), None if run.world.leads else True
    for _ in tqdm(epochs, initial=run.done, total=recipe["epochs"], desc="training", unit="epoch", disable=quiet):
        run.epoch()
        if checkpointer and run.world.leads and checkpointer.due():
            checkpointer.save(run.state())
    return run.result()


def _check(task: Classify, recipe: Mapping[str, Any], callback: Callback | None, teacher: nn.Module | None) -> None:
    """Raise ConfigError for what can't be done on this task, with this method or in this many processes."""
    if recipe["select"] == "best" and task.count("val") == 0:
        raise ConfigError("recipe.select: got 'best', but the data set has no validation split. Allowed here: last.")
    if (recipe["distill"] is None) != (teacher is None):
        raise ConfigError("recipe.distill: a teacher is given where it is set, and only there.")
    whole = {"micro_batch": None, "ema": None, "mix": None, "distill": None, "freeze": []}
    given = [name for name, off in whole.items() if recipe[name] != off]
    if given and callback is not None:
        raise ConfigError(f"recipe.{given[0]}: a method that prunes while training works on whole, plain batches.")
    processes, parts = current().size, recipe["batch_size"] // (recipe["micro_batch"] or recipe["batch_size"])
    if processes > parts:
        raise ConfigError(
            f"recipe.micro_batch: {processes} processes can't share a batch of {parts} part(s). "
            f"Allowed: at most {recipe['batch_size'] // processes}."
        )


class _Training:
    """A training under way: everything an epoch changes and a resume needs."""

    def __init__(
        self,
        task: Classify,
        model: nn.Module,
        recipe: Mapping[str, Any],
        mask: Mask | None,
        callback: Callback,
        teacher: nn.Module | None,
    ) -> None:
        self.layout = torch.channels_last if recipe["channels_last"] else torch.contiguous_format
        model = model.train().to(memory_format=self.layout)
        self.task, self.model, self.recipe, self.callback, self.world = task, model, recipe, callback, current()
        self.stepper = Stepper(task, model, recipe, mask, callback, teacher)
        self.callback.begin(model, self.stepper.optimizer)
        self.done = self.steps = 0
        self.columns: dict[str, list[float]] = {}
        self.step_ms: list[float] = []
        self.best: dict[str, Any] | None = None

    def epoch(self) -> None:
        """Train one epoch, evaluate the validation split, add a row to the history."""
        row = {"epoch": self.done + 1.0, "lr": rate(self.recipe, self.done)}
        self.stepper.set_rate(row["lr"])
        with global_stream(self.task.seed, "dropout", self.done):
            row |= self._pass()
        extra = self.callback.after_epoch(self.model, self.done)
        found = self._evaluate("val")
        row |= {"top1_val": _number(found["top1"]), "loss_val": _number(found["loss"]), **extra}
        for column, value in row.items():
            self.columns.setdefault(column, []).append(value)
        self.done += 1
        if self.recipe["select"] == "best" and (self.best is None or row["top1_val"] > self.best["top1_val"]):
            weights = {"model": self.stepper.judged.state_dict(), "callback": self.callback.state()}
            self.best = copy.deepcopy({"top1_val": row["top1_val"], **weights})
        log.info("epoch %s", ", ".join(f"{column} {value:.6g}" for column, value in row.items()))

    def _pass(self) -> dict[str, float]:
        """Go through the training split once; the mean loss and accuracy are those of the batches as they came."""
        totals, count, number = torch.zeros(2, dtype=torch.float64, device=self.task.device), 0, 0
        start = time.perf_counter()
        for number, parts in enumerate(feed(self.task, self.recipe, self.done, self.world, self.layout), start=1):
            if self.recipe["lr_per"] == "step":
                now = self.done + (number - 1) / steps(self.task, self.recipe)
                self.stepper.set_rate(rate(self.recipe, now))
            found, images = self.stepper.step(parts, self.done, number)
            totals, count = totals + found, count + images
        sums = self.world.total(torch.cat([totals, totals.new_tensor([count])]))
        loss, hits, seen = sums.tolist()  # waits for a GPU
        self.step_ms.append(1000 * (time.perf_counter() - start) / number)
        self.steps += number
        return {"loss": loss / seen, "top1": hits / seen}

    def result(self) -> Trained:
        """Settle the chosen epoch's weights, evaluate validation and test on them, return everything."""
        if self.best is not None:
            self.stepper.judged.load_state_dict(self.best["model"])
            self.callback.restore(self.best["callback"])
        self.stepper.settle()
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
        size = self.recipe["micro_batch"] or self.recipe["batch_size"]
        return evaluate(self.task, self.stepper.judged, split, size, self.callback, change)

    def _changed(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Return whole images as the network sees them in training."""
        return augment(images, self.recipe["augment"], random, self.task.crop).contiguous(memory_format=self.layout)

    def state(self) -> dict[str, Any]:
        """Return what an exact resume needs, as it is at an epoch's end."""
        counts = {"done": self.done, "steps": self.steps, "columns": self.columns, "step_ms": self.step_ms}
        return {**counts, "callback": self.callback.state(), **self.stepper.state(), "best": self.best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.stepper.restore(state)
        self.callback.restore(state["callback"])
        self.done, self.steps, self.best = state["done"], state["steps"], state["best"]
        self.columns, self.step_ms = state["columns"], state["step_ms"]
        self.stepper.zero_pruned()


def _number(value: float | None) -> float:
    return math.nan if value is None else value
