"""What denoising and restoring a picture share: fit a noisy picture of any size and mode by an untrained generator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from prunelib.data.datasets import read_photo
from prunelib.errors import ConfigError
from prunelib.models.build import build
from prunelib.models.sizes import fitting_side
from prunelib.seeds import generator

INPUT_SCALE = 0.1
GREY, RGB = 1, 3


class PictureTask:
    """Fit the noisy picture y by G(z), z ~ U(0, 0.1) drawn once; mean squared error.

    ``noisy`` (y) and ``clean`` (or None) are (1, C, H, W) float32 in [0, 1], C = 3 (RGB) or 1 (grey). A generator draws
    RGB in sides of its own: y is padded by reflection, evenly on both sides, to the ``target`` (1, C, H', W') with the
    smallest sides that fit, and a grey picture is the mean over the channels drawn. ``example`` is z, for H' x W'.
    """

    def __init__(
        self,
        clean: Tensor | None,
        noisy: Tensor,
        sigma: float,
        model: Mapping[str, Any],
        seed: int,
        device: torch.device | str,
    ) -> None:
        """Pad the picture and draw z; raises ConfigError for a model that draws no pictures."""
        self.model, self.seed, self.sigma, self.device = model, seed, sigma, torch.device(device)
        self.clean = None if clean is None else clean.to(self.device)
        self.noisy = noisy.to(self.device)
        self._rows, self._columns = (_margins(model, side) for side in noisy.shape[2:])
        self.target = self.noisy
        if any((*self._rows, *self._columns)):
            padded = np.pad(noisy.numpy(), ((0, 0), (0, 0), self._rows, self._columns), mode="reflect")
            self.target = torch.from_numpy(padded).to(self.device)
        self._layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format  # faster there
        self.example = self._input().to(self.device).contiguous(memory_format=self._layout)

    def build(self) -> nn.Module:
        """Return the generator at its initial weights, in training mode (its norms see one image), on the device."""
        return build(self.model, self.seed).to(self.device, memory_format=self._layout)

    def batches(self, purpose: str, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (z, target) ``count`` times, for any purpose: there is one picture."""
        for _ in range(count):
            yield self.example, self.target

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error over all pixels and channels of the target, the padding included."""
        return functional.mse_loss(self._in_mode(output), target)

    def crop(self, output: Tensor) -> Tensor:
        """Return the picture in a generator's output: (1, 3, H', W') -> (1, C, H, W), in the picture's own mode."""
        height, width = self.noisy.shape[2:]
        (top, _), (left, _) = self._rows, self._columns
        return self._in_mode(output)[..., top : top + height, left : left + width]

    def _in_mode(self, output: Tensor) -> Tensor:
        return output.mean(1, keepdim=True) if self.noisy.shape[1] == GREY else output

    def _input(self) -> Tensor:
        shape_of = getattr(build(self.model, self.seed), "input_shape", None)
        if shape_of is None:
            raise ConfigError(f"model '{self.model['builder']}' draws no image; this task needs a generator.")
        return INPUT_SCALE * torch.rand(shape_of(*self.target.shape[2:]), generator=generator(self.seed, "input"))


def open_photo(data: Path) -> Tensor:
    """Read a photograph as (1, C, H, W) float32 in [0, 1]; raises ConfigError when it is neither RGB nor grey."""
    photo = torch.from_numpy(read_photo(data)).permute(2, 0, 1)[None].float() / 255
    if photo.shape[1] not in (GREY, RGB):
        raise ConfigError(f"{data}: the image has {photo.shape[1]} channels. Allowed: 3 (RGB), 1 (grey).")
    return photo


def _margins(model: Mapping[str, Any], side: int) -> tuple[int, int]:
    """Return the pixels to add before and after a side so that the model draws it."""
    missing = fitting_side(model["builder"], model["options"], side) - side
    return missing // 2, missing - missing // 2
