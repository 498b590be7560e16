"""Image quality: PSNR on the device, SSIM by scikit-image, the noise in a picture; images are in [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import correlate1d
from skimage.metrics import structural_similarity
from torch import Tensor

SSIM_WINDOW = 7  # scikit-image's default window, in pixels
NORMAL_MAD = 0.6744897501960817  # median of |x| for x ~ N(0, 1)
ROOT = 3**0.5
DETAIL = np.array([1 - ROOT, ROOT - 3, ROOT + 3, -1 - ROOT]) / 32**0.5  # Daubechies' four-tap high pass


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


def noise_level(image: np.ndarray) -> float:
    """Estimate the standard deviation of Gaussian noise in an (H, W, C) image in [0, 1], the mean over channels.

    sigma = median(|d|) / 0.6745 per channel, d the diagonal details of the finest scale (Daubechies-4 wavelet at every
    shift), where no pixel of the 4x4 window is clipped to 0 or 1: clipped noise is narrower. Windows count all the same
    when fewer than a tenth are whole. Fine texture counts as noise; over 0.2, where much is clipped, the result is too
    low. Source: Donoho and Johnstone, Biometrika 1994.
    """
    return float(np.mean([_channel_noise(channel) for channel in np.moveaxis(image.astype(np.float64), -1, 0)]))


def _channel_noise(channel: np.ndarray) -> float:
    details, clipped = channel, ((channel <= 0) | (channel >= 1)).astype(np.float64)
    for axis in (0, 1):
        details = correlate1d(details, DETAIL, axis=axis, mode="reflect")
        clipped = correlate1d(clipped, np.ones(len(DETAIL)), axis=axis, mode="reflect")
    whole = clipped == 0
    return float(np.median(np.abs(details[whole] if whole.mean() >= 0.1 else details))) / NORMAL_MAD
