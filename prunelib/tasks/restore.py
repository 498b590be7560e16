"""Restoring a photograph that is noisy already: there is no clean picture to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from prunelib.data.noise import noise_level
from prunelib.options import Positive
from prunelib.registry import register
from prunelib.tasks.picture import PictureTask, open_photo


@register("task", "restore", loop="fit_image")
class Restore(PictureTask):
    """Fit a photograph as it is (see ``PictureTask``); ``clean`` is None and no noise is added."""

    kind = "restore"

    def __init__(
        self,
        data: Path,
        model: Mapping[str, Any],
        seed: int,
        device: torch.device | str = "cpu",
        *,
        sigma: Positive | None = None,
    ) -> None:
        """Read the photograph; ``sigma`` is the noise's standard deviation in [0, 1] units (None: estimated)."""
        photo = open_photo(data)
        known = noise_level(photo[0].permute(1, 2, 0).numpy()) if sigma is None else sigma
        super().__init__(None, photo, known, model, seed, device)
