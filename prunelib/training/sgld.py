"""Noisy gradient descent on one image: noise on the input and the weights of each step, and the mean of the outputs.

Source: Cheng et al., A Bayesian Perspective on the Deep Image Prior (CVPR 2019), in the form of the OES authors' code:
Adam, input noise of 1/30, weight noise of half the learning rate on convolutions. Noise is a function of (seed, step).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from prunelib.measure.image import psnr, to_pixels
from prunelib.seeds import generator
from prunelib.tasks.picture import PictureTask
from prunelib.training.result import Trained


class Noise:
    """Gaussian noise for each step of a fit: ``inputs`` and ``weights`` are standard deviations, 0 = none."""

    def __init__(self, seed: int, inputs: float, weights: float) -> None:
        """Name the streams: (seed, "sgld-input", step) and (seed, "sgld-weights", step)."""
        self.seed, self.inputs, self.weights = seed, inputs, weights

    def input(self, z: Tensor, step: int) -> Tensor:
        """Return z + N(0, inputs^2)."""
        if not self.inputs:
            return z
        random = torch.randn(z.shape, generator=generator(self.seed, "sgld-input", step))
        return torch.add(z, random.to(z.device), alpha=self.inputs)

    @torch.no_grad()
    def weights_(self, parameters: Iterable[Tensor], step: int) -> None:
        """Add N(0, weights^2) to the weights of convolutions (tensors of four dimensions) of a network, in place."""
        if not self.weights:
            return
        stream = generator(self.seed, "sgld-weights", step)
        for parameter in parameters:
            if parameter.dim() == 4:
                random = torch.randn(parameter.shape, generator=stream)
                parameter.add_(random.to(parameter.device), alpha=self.weights)


class Average:
    """The mean of the outputs of every step >= ``first`` (the posterior mean); with None, of none."""

    def __init__(self, first: int | None) -> None:
        """Begin without an output."""
        self.first = first
        self.mean: Tensor | None = None

    def add(self, step: int, output: Tensor) -> None:
        """Take the output of one step, without gradient; steps come one after the other."""
        if self.first is None or step < self.first:
            return
        if self.mean is None:
            self.mean = output.clone()
        else:
            self.mean += (output - self.mean) / (step - self.first + 1)

    def join(self, found: Trained, task: PictureTask) -> Trained:
        """Return a fit's result with the average's image and, where there is a clean one, psnr_average (dB)."""
        if self.mean is None:
            return found
        image = task.crop(self.mean)
        metrics = {} if task.clean is None else {"psnr_average": psnr(image, task.clean).item()}
        return replace(found, metrics=found.metrics | metrics, images=found.images | {"average": to_pixels(image)})

    def state(self) -> dict[str, Any]:
        """Return what an exact resume needs."""
        return {"mean": self.mean}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take back what ``state`` returned, on a device."""
        self.mean = None if state["mean"] is None else state["mean"].to(device)
