"""The image-fitting loop: train a generator on one noisy image, masked or not, and watch it against the clean one."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from prunelib.errors import PrunelibError
from prunelib.masks.mask import Mask
from prunelib.measure.image import psnr, ssim, to_pixels
from prunelib.registry import register
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.denoise import Denoise
from prunelib.training.result import Trained

LAST = 10  # logged steps in psnr_last10: single late values jump when Adam spikes
log = logging.getLogger(__name__)


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
    step_ms = statistics.median(fit.step_ms) if fit.step_ms else None
    return Trained(fit.columns, fit.metrics(), fit.images(), steps=fit.step, step_ms=step_ms)


class _Fit:
    """A fit under way: model, optimizer, history and the best image so far; everything a resume needs."""

    def __init__(self, task: Denoise, model: nn.Module, lr: float, mask: Mask | None) -> None:
        self.task, self.model, self.step = task, model, 0
        self.enforcer = mask.enforcer(model) if mask is not None else None
        if self.enforcer:
            self.enforcer.weights_()
        self.adam = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
        self.columns: dict[str, list[float]] = {"step": [], "loss": [], "psnr": [], "psnr_noisy": []}
        self.best = self.final = torch.zeros_like(task.clean)
        self.step_ms: list[float] = []  # mean time of a step between two logged ones
        self._mark: tuple[float, int] | None = None

    def update(self, logged: bool) -> None:
        """Take one optimizer step; log the output it starts from when asked to."""
        output = self.model(self.task.example)
        loss = self.task.loss(output, self.task.noisy)
        if logged:
            self._log(output.detach(), loss.detach())
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
        self.final = self.model(self.task.example)
        self._log(self.final, self.task.loss(self.final, self.task.noisy))

    def _log(self, output: Tensor, loss: Tensor) -> None:
        values = torch.stack([loss, psnr(output, self.task.clean), psnr(output, self.task.noisy)]).tolist()
        if not math.isfinite(values[0]):
            raise PrunelibError(f"fit image: the loss is {values[0]} at step {self.step}; lower the recipe's 'lr'.")
        if values[1] > max(self.columns["psnr"], default=-math.inf):
            self.best = output.clone()
        for column, value in zip(self.columns.values(), [float(self.step), *values], strict=True):
            column.append(value)
        self._clock()
        log.info("step %d: loss %.5f, PSNR %.2f dB, to the noisy image %.2f dB", self.step, *values)

    def _clock(self) -> None:
        """Time the steps since the last logged one; reading the loss has just waited for a GPU."""
        now = time.perf_counter()
        if self._mark is not None and self.step > self._mark[1]:
            self.step_ms.append(1000 * (now - self._mark[0]) / (self.step - self._mark[1]))
        self._mark = now, self.step

    def images(self) -> dict[str, np.ndarray]:
        """Return the clean, noisy, final and best image as (H, W, C) uint8."""
        shown = {"clean": self.task.clean, "noisy": self.task.noisy, "final": self.final, "best": self.best}
        return {name: to_pixels(image) for name, image in shown.items()}

    def metrics(self) -> dict[str, float | None]:
        """Return the figures of a finished fit; "last10" is the median of the last ten logged values."""
        curve = self.columns["psnr"]
        peak = max(curve)
        hwc = [image[0].permute(1, 2, 0).cpu().numpy() for image in (self.final, self.task.clean)]
        return {
            "psnr_peak": peak,
            "psnr_final": curve[-1],
            "psnr_last10": statistics.median(curve[-LAST:]),
            "psnr_gap": peak - curve[-1],
            "step_peak": self.columns["step"][curve.index(peak)],
            "psnr_noisy": psnr(self.task.noisy, self.task.clean).item(),
            "psnr_vs_noisy": self.columns["psnr_noisy"][-1],
            "ssim_final": ssim(*hwc),
        }

    def state(self) -> dict[str, Any]:
        """Return what an exact resume needs (before the forward pass of the current step)."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.adam.state_dict(),
            "columns": self.columns,
            "best": self.best,
            "step_ms": self.step_ms,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.step, self.columns, self.step_ms = state["step"], state["columns"], state["step_ms"]
        self.model.load_state_dict(state["model"])
        self.adam.load_state_dict(state["optimizer"])
        self.best = state["best"].to(self.task.device)
