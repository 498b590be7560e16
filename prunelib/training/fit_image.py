"""The image-fitting loop: train a generator on one noisy image, masked or not, and watch it against the clean one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from prunelib.masks.mask import Mask
from prunelib.registry import register
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.picture import PictureTask
from prunelib.training.record import Record
from prunelib.training.result import Trained
from prunelib.training.sgld import Average, Noise


@register("loop", "fit_image")
def fit_image(
    task: PictureTask,
    model: nn.Module,
    recipe: Mapping[str, Any],
    *,
    mask: Mask | None = None,
    checkpointer: Checkpointer | None = None,
) -> Trained:
    """Train ``model`` in place by Adam(lr) on loss(G(z), y) for ``steps`` updates, pruned weights held at zero.

    ``recipe`` has the fields of ``prunelib.recipes.FitRecipe``. History: the columns of ``Record``, a row before the
    update of each ``log_every``-th step, from step 0, and one after the last update; with ``input_noise``, each of the
    output for that step's noisy input. Images: clean, noisy, final, best (highest psnr of a row), stop (chosen by the
    moving variance), average (with ``average_from``), as far as they exist. With a checkpointer the fit goes on from
    its newest state, with the same bits on a CPU. Raises PrunelibError when the loss is no longer finite.
    """
    fit = _Fit(task, model.train(), recipe, mask)
    drive(fit, recipe, checkpointer, "fit image")
    return fit.average.join(fit.record.result(), task)


class Fit(Protocol):
    """What ``drive`` takes through its steps: one fit, or several side by side."""

    step: int  # updates taken

    def update(self, logged: bool) -> None:
        """Take one optimizer step; log what it starts from when asked to."""
        ...

    def finish(self) -> None:
        """Log the last state."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what an exact resume needs, before an update."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        ...


def drive(fit: Fit, recipe: Mapping[str, Any], checkpointer: Checkpointer | None, words: str) -> None:
    """Take a fit from its newest checkpoint, if any, through the recipe's steps, with a progress bar."""
    state = checkpointer.load() if checkpointer else None
    if state is not None:
        fit.restore(state)
    steps, every = recipe["steps"], recipe["log_every"]
    with tqdm(total=steps, initial=fit.step, desc=words, disable=None) as bar:
        while fit.step < steps:
            logged = fit.step % every == 0
            if logged and checkpointer and checkpointer.due():
                checkpointer.save(fit.state())
            fit.update(logged)
            bar.update()
        fit.finish()


class _Fit:
    """A fit under way: model, optimizer, record and average; everything a resume needs."""

    def __init__(self, task: PictureTask, model: nn.Module, recipe: Mapping[str, Any], mask: Mask | None) -> None:
        self.task, self.model, self.step = task, model, 0
        self.enforcer = mask.enforcer(model) if mask is not None else None
        if self.enforcer:
            self.enforcer.weights_()
        self.adam = torch.optim.Adam(model.parameters(), lr=recipe["lr"], fused=True)
        self.noise = Noise(task.seed, recipe["input_noise"], recipe["weight_noise"])
        self.record, self.average = Record(task), Average(recipe["average_from"])

    def update(self, logged: bool) -> None:
        """Take one optimizer step; log the output it starts from when asked to."""
        loss = self._forward(logged)
        self.adam.zero_grad()
        loss.backward()
        if self.enforcer:
            self.enforcer.gradients_()
        self.adam.step()
        self.noise.weights_(self.model.parameters(), self.step)
        if self.enforcer and self.noise.weights:  # which must not wake a pruned weight
            self.enforcer.weights_()
        self.step += 1

    @torch.no_grad()
    def finish(self) -> None:
        """Draw and log the final image."""
        self._forward(logged=True)

    def _forward(self, logged: bool) -> Tensor:
        """Return the loss of the current step, of which the output is logged when asked to and averaged when due."""
        output = self.model(self.noise.input(self.task.example, self.step))
        loss = self.task.loss(output, self.task.target)
        if logged:
            self.record.row(self.step, output.detach(), loss.detach())
        self.average.add(self.step, output.detach())
        return loss

    def state(self) -> dict[str, Any]:
        """Return what an exact resume needs (before the forward pass of the current step)."""
        own = {"step": self.step, "model": self.model.state_dict(), "optimizer": self.adam.state_dict()}
        return own | self.record.state() | {"average": self.average.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.adam.load_state_dict(state["optimizer"])
        self.record.restore(state)
        self.average.restore(state["average"], self.task.device)
