"""What is noted of one image fit while it runs: history, times, the best and the final image, and the figures of it."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunelib.errors import PrunelibError
from prunelib.measure.image import psnr, ssim, to_pixels
from prunelib.tasks.denoise import Denoise
from prunelib.training.result import Trained

LAST = 10  # logged steps in psnr_last10: single late values jump when Adam spikes
log = logging.getLogger(__name__)


class Record:
    """Rows (step, loss, psnr, psnr_noisy) of one fit; every loop that fits an image, alone or among others, has one."""

    def __init__(self, task: Denoise, name: str = "") -> None:
        """Begin an empty record; ``name`` tells the fit from others in the log and in errors."""
        self.task, self.name = task, name
        self.columns: dict[str, list[float]] = {"step": [], "loss": [], "psnr": [], "psnr_noisy": []}
        self.best = self.final = torch.zeros_like(task.clean)
        self.step_ms: list[float] = []  # mean time of a step between two logged ones
        self._mark: tuple[float, int] | None = None

    def row(self, step: int, output: Tensor, loss: Tensor) -> None:
        """Add the row of the network that has taken ``step`` steps; raises PrunelibError for a loss that is no number.

        ``output``, ``loss``: without gradient. The image stays as ``final`` and, with the highest psnr, as ``best``.
        """
        values = torch.stack([loss, psnr(output, self.task.clean), psnr(output, self.task.noisy)]).tolist()
        if not math.isfinite(values[0]):
            where = f"fit image{self.name}"
            raise PrunelibError(f"{where}: the loss is {values[0]} at step {step}; lower the recipe's 'lr'.")
        self.final = output
        if values[1] > max(self.columns["psnr"], default=-math.inf):
            self.best = output.clone()
        for column, value in zip(self.columns.values(), [float(step), *values], strict=True):
            column.append(value)
        self._clock(step)
        log.info("step %d%s: loss %.5f, PSNR %.2f dB, to the noisy image %.2f dB", step, self.name, *values)

    def _clock(self, step: int) -> None:
        """Time the steps since the last logged one; reading the loss has just waited for a GPU."""
        now = time.perf_counter()
        if self._mark is not None and step > self._mark[1]:
            self.step_ms.append(1000 * (now - self._mark[0]) / (step - self._mark[1]))
        self._mark = now, step

    def result(self, fits: int = 1) -> Trained:
        """Return a finished fit's history, figures and images; one of ``fits`` side by side has its share of a step."""
        step_ms = statistics.median(self.step_ms) / fits if self.step_ms else None
        steps = int(self.columns["step"][-1])
        return Trained(self.columns, self._metrics(), self._images(), steps=steps, step_ms=step_ms)

    def _images(self) -> dict[str, np.ndarray]:
        """Return the clean, noisy, final and best image as (H, W, C) uint8."""
        shown = {"clean": self.task.clean, "noisy": self.task.noisy, "final": self.final, "best": self.best}
        return {name: to_pixels(image) for name, image in shown.items()}

    def _metrics(self) -> dict[str, float | None]:
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
        """Return what an exact resume needs."""
        return {"columns": self.columns, "best": self.best, "step_ms": self.step_ms}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.columns, self.step_ms = state["columns"], state["step_ms"]
        self.best = state["best"].to(self.task.device)
