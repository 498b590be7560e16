"""Image quality: PSNR on the device, SSIM by scikit-image; images are in [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

SSIM_WINDOW = 7  # scikit-image's default window, in pixels


def psnr(image: Tensor, reference: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio over all pixels and channels, a 0-dimensional tensor in dB.

    PSNR = -10 log10(mean((image - reference)^2)), data range 1, infinite for equal images; no wait for the device.
    """
    return -10 * torch.log10(torch.mean((image.detach() - reference) ** 2))


def ssim(image: np.ndarray, reference: np.ndarray) -> float | None:
    """Return the structural similarity of two (H, W, C) images in [0, 1]: mean over channels, uniform window 7x7.

    Data range 1. Images under 7 pixels get the largest odd window that fits; under 3 pixels there is none, hence None.
    Source: Wang et al. 2004, scikit-image's version of it.
    """
    side = min(SSIM_WINDOW, *image.shape[:2])
    window = side if side % 2 else side - 1
    if window < 3:
        return None
    return float(structural_similarity(image, reference, data_range=1.0, channel_axis=-1, win_size=window))


def to_pixels(image: Tensor) -> np.ndarray:
    """Return a (1, C, H, W) or (C, H, W) image in [0, 1] as (H, W, C) uint8, rounded to the nearest level."""
    chw = image.detach().reshape(image.shape[-3:]).clamp(0, 1)
    return (chw * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
