"""What a training loop hands back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from prunelib.masks.mask import Mask


@dataclass(frozen=True)
class Trained:
    """History columns of equal length, metrics, (H, W, C) uint8 images, the mask a callback found, steps and time."""

    columns: dict[str, list[float | None]]
    metrics: dict[str, float | None]
    images: dict[str, np.ndarray] = field(default_factory=dict)
    mask: Mask | None = None
    steps: int = 0
    step_ms: float | None = None  # median
