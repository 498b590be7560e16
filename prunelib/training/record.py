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
from prunelib.tasks.picture import PictureTask
from prunelib.training.result import Trained
from prunelib.training.stopping import MovingVariance, discrepancy

LAST = 10  # logged steps in psnr_last10: single late values jump when Adam spikes
log = logging.getLogger(__name__)


class Record:
    """Rows of one fit; every loop that fits an image, alone or among others, has one.

    Columns: step, loss; psnr and ssim to the clean image, where there is one; psnr_noisy, to the noisy one; variance of
    the last outputs (see ``prunelib.training.stopping``). PSNR and SSIM have data range 1.
    """

    def __init__(self, task: PictureTask, name: str = "") -> None:
        """Begin an empty record; ``name`` tells the fit from others in the log and in errors."""
        self.task, self.name = task, name
        against_clean = ("psnr", "ssim") if task.clean is not None else ()
        self.columns: dict[str, list[float | None]] = {
            column: [] for column in ("step", "loss", *against_clean, "psnr_noisy", "variance")
        }
        self.best = self.final = torch.zeros_like(task.noisy)
        self.watch = MovingVariance()
        self.step_ms: list[float] = []  # mean time of a step between two logged ones
        self._mark: tuple[float, int] | None = None

    def row(self, step: int, output: Tensor, loss: Tensor) -> None:
        """Add the row of the network that has taken ``step`` steps; raises PrunelibError for a loss that is no number.

        ``output``, ``loss``: without gradient. The image stays as ``final`` and, with the highest psnr, as ``best``.
        """
        self.final = self.task.crop(output)
        values = {"step": float(step), **self._measured(loss)}
        if not math.isfinite(values["loss"]):
            where = f"fit image{self.name}"
            raise PrunelibError(f"{where}: the loss is {values['loss']} at step {step}; lower the recipe's 'lr'.")
        if "psnr" in values and values["psnr"] > max(self.columns["psnr"], default=-math.inf):
            self.best = self.final.clone()
        values["variance"] = self.watch.add(self.final)
        if self.task.clean is not None:
            values["ssim"] = ssim(_hwc(self.final), _hwc(self.task.clean))
        for column, rows in self.columns.items():
            rows.append(values[column])
        self._clock(step)
        words = ", ".join(f"{name} {values[name]:.5g}" for name in ("loss", "psnr", "psnr_noisy") if name in values)
        log.info("step %d%s: %s", step, self.name, words)

    def _measured(self, loss: Tensor) -> dict[str, float]:
        """Return loss and PSNR of the final image, with one wait for the device."""
        found = {"loss": loss, "psnr_noisy": psnr(self.final, self.task.noisy)}
        if self.task.clean is not None:
            found["psnr"] = psnr(self.final, self.task.clean)
        return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True))

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
        """Return the noisy, final and (where they exist) clean, best and stop image as (H, W, C) uint8."""
        shown = {"noisy": self.task.noisy, "final": self.final, "stop": self.watch.image}
        if self.task.clean is not None:
            shown = {"clean": self.task.clean, **shown, "best": self.best}
        return {name: to_pixels(image) for name, image in shown.items() if image is not None}

    def _metrics(self) -> dict[str, float | None]:
        """Return the figures of a finished fit; those to the clean image only where there is one."""
        found: dict[str, float | None] = {
            "sigma": self.task.sigma,
            "psnr_vs_noisy": self.columns["psnr_noisy"][-1],
        }
        rows = {"stop": self.watch.index, "discrepancy": discrepancy(self.columns["loss"], self.task.sigma)}
        for rule, index in rows.items():
            found[f"step_{rule}"] = None if index is None else self.columns["step"][index]
            if self.task.clean is not None:
                found[f"psnr_{rule}"] = None if index is None else self.columns["psnr"][index]
        return found if self.task.clean is None else self._against_clean() | found

    def _against_clean(self) -> dict[str, float | None]:
        """Return the figures that need the clean image; "last10" is the median of the last ten logged values."""
        curve = self.columns["psnr"]
        peak = max(curve)
        return {
            "psnr_peak": peak,
            "psnr_final": curve[-1],
            "psnr_last10": statistics.median(curve[-LAST:]),
            "psnr_gap": peak - curve[-1],
            "step_peak": self.columns["step"][curve.index(peak)],
            "psnr_noisy": psnr(self.task.noisy, self.task.clean).item(),
            "ssim_final": self.columns["ssim"][-1],
        }

    def state(self) -> dict[str, Any]:
        """Return what an exact resume needs."""
        return {"columns": self.columns, "best": self.best, "step_ms": self.step_ms, "watch": self.watch.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.columns, self.step_ms = state["columns"], state["step_ms"]
        self.best = state["best"].to(self.task.device)
        self.watch.restore(state["watch"], self.task.device)


def _hwc(image: Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).cpu().numpy()
