"""Denoising of one photograph with an untrained generator: fit the noisy image from a fixed random input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from prunelib.data.datasets import read_photo
from prunelib.errors import ConfigError
from prunelib.models.build import build
from prunelib.models.sizes import check_side
from prunelib.options import Positive
from prunelib.registry import register
from prunelib.seeds import generator

INPUT_SCALE = 0.1
IMAGE_CHANNELS = 3


@register("task", "denoise", loop="fit_image")
class Denoise:
    """Fit y = clip(x + n, 0, 1), n ~ N(0, sigma^2) per value, by G(z), z ~ U(0, 0.1) drawn once; mean squared error.

    ``clean`` (x), ``noisy`` (y) are (1, 3, H, W) float32 in [0, 1]; ``example`` is z, in the shape the generator takes.
    Noise and input are separate streams of the seed, the same for every method. Source: OES (ICML 2024), DIP (2018).
    """

    kind = "denoise"

    def __init__(
        self,
        data: Path,
        model: Mapping[str, Any],
        seed: int,
        device: torch.device | str = "cpu",
        *,
        sigma: Positive = 0.1,
    ) -> None:
        """Read the photograph and draw its noise; raises ConfigError when the model can't draw such an image."""
        photo = torch.from_numpy(read_photo(data)).permute(2, 0, 1)[None].float() / 255
        channels, height, width = photo.shape[1:]
        if channels != IMAGE_CHANNELS:  # the loss would broadcast one channel over three without a word
            raise ConfigError(f"{data}: the image has {channels} channel(s); a generator draws {IMAGE_CHANNELS} (RGB).")
        for side in (height, width):
            problem = check_side(model["builder"], model["options"], side)
            if problem:
                raise ConfigError(f"{data}: the image is {height} x {width} pixels; {problem}")
        self.model, self.seed, self.device = model, seed, torch.device(device)
        noise = torch.randn(photo.shape, generator=generator(seed, "noise"))
        self.clean = photo.to(self.device)
        self.noisy = (photo + sigma * noise).clamp(0, 1).to(self.device)
        self._layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format  # faster there
        self.example = self._input(height, width).to(self.device).contiguous(memory_format=self._layout)

    def build(self) -> nn.Module:
        """Return the generator at its initial weights, in training mode (its norms see one image), on the device."""
        return build(self.model, self.seed).to(self.device, memory_format=self._layout)

    def batches(self, purpose: str, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (z, y) ``count`` times, for any purpose: there is one image."""
        for _ in range(count):
            yield self.example, self.noisy

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error over all pixels and channels."""
        return functional.mse_loss(output, target)

    def _input(self, height: int, width: int) -> Tensor:
        shape_of = getattr(build(self.model, self.seed), "input_shape", None)
        if shape_of is None:
            raise ConfigError(f"model '{self.model['builder']}' draws no image; a denoise task needs a generator.")
        return INPUT_SCALE * torch.rand(shape_of(height, width), generator=generator(self.seed, "input"))
