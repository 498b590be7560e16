"""Denoising of one photograph with an untrained generator: noise is added, so that the clean picture is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from prunelib.options import Positive
from prunelib.registry import register
from prunelib.seeds import generator
from prunelib.tasks.picture import PictureTask, open_photo


@register("task", "denoise", loop="fit_image")
class Denoise(PictureTask):
    """Fit y = clip(x + n, 0, 1), n ~ N(0, sigma^2) per value of the picture x (see ``PictureTask``).

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
        """Read the photograph, RGB or grey of any size, and draw its noise."""
        photo = open_photo(data)
        noise = torch.randn(photo.shape, generator=generator(seed, "noise"))
        super().__init__(photo, (photo + sigma * noise).clamp(0, 1), sigma, model, seed, device)
