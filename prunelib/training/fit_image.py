"""The image-fitting loop: train a generator on one noisy image, masked or not, and watch it against the clean one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from prunelib.masks.mask import Mask
from prunelib.registry import register
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.denoise import Denoise
from prunelib.training.record import Record
from prunelib.training.result import Trained


@register("loop", "fit_image")
def fit_image(
    task: Denoise,
    model: nn.Module,
    recipe: Mapping[str, Any],
    *,
    mask: Mask | None = None,
    checkpointer: Checkpointer | None = None,
) -> Trained:
    """Train ``model`` in place by Adam(lr) on loss(G(z), y) for ``steps`` updates, pruned weights held at zero.

    ``recipe`` has the fields of ``prunelib.config.FitRecipe``. History: step, loss, psnr (to the clean image) and
    psnr_noisy (to the noisy one), a row before the update of each ``log_every``-th step, from step 0, and one after the
    last update. Images: clean, noisy, final and best (highest psnr of a row). With a checkpointer the fit goes on from
    its newest state, with the same bits on a CPU. Raises PrunelibError when the loss is no longer finite.
    """
    fit = _Fit(task, model.train(), recipe["lr"], mask)
    state = checkpointer.load() if checkpointer else None
    if state is not None:
        fit.restore(state)
    steps, every = recipe["steps"], recipe["log_every"]
    with tqdm(total=steps, initial=fit.step, desc="fit image", disable=None) as bar:
        while fit.step < steps:
            logged = fit.step % every == 0
            if logged and checkpointer and checkpointer.due():
                checkpointer.save(fit.state())
            fit.update(logged)
            bar.update()
        fit.finish()
    return fit.record.result()


class _Fit:
    """A fit under way: model, optimizer and record; everything a resume needs."""

    def __init__(self, task: Denoise, model: nn.Module, lr: float, mask: Mask | None) -> None:
        self.task, self.model, self.step = task, model, 0
        self.enforcer = mask.enforcer(model) if mask is not None else None
        if self.enforcer:
            self.enforcer.weights_()
        self.adam = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
        self.record = Record(task)

    def update(self, logged: bool) -> None:
        """Take one optimizer step; log the output it starts from when asked to."""
        output = self.model(self.task.example)
        loss = self.task.loss(output, self.task.noisy)
        if logged:
            self.record.row(self.step, output.detach(), loss.detach())
        self.adam.zero_grad()
        loss.backward()
        if self.enforcer:
            self.enforcer.gradients_()
        self.adam.step()
        if self.enforcer:
            self.enforcer.weights_()
        self.step += 1

    @torch.no_grad()
    def finish(self) -> None:
        """Draw and log the final image."""
        output = self.model(self.task.example)
        self.record.row(self.step, output, self.task.loss(output, self.task.noisy))

    def state(self) -> dict[str, Any]:
        """Return what an exact resume needs (before the forward pass of the current step)."""
        own = {"step": self.step, "model": self.model.state_dict(), "optimizer": self.adam.state_dict()}
        return own | self.record.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.adam.load_state_dict(state["optimizer"])
        self.record.restore(state)
