"""What a training loop hands back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Trained:
    """History columns of equal length, metrics, (H, W, C) uint8 images, a callback's mask or gates, steps and time."""

    columns: dict[str, list[float]]
    metrics: dict[str, float | None]
    images: dict[str, np.ndarray] = field(default_factory=dict)
    gates: Mapping[str, Tensor] | None = None
    steps: int = 0
    step_ms: float | None = None  # median
