"""How much noise a picture holds."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d

NORMAL_MAD = 0.6744897501960817  # median of |x| for x ~ N(0, 1)
ROOT = 3**0.5
DETAIL = np.array([1 - ROOT, ROOT - 3, ROOT + 3, -1 - ROOT]) / 32**0.5  # Daubechies' four-tap high pass


def noise_level(image: np.ndarray) -> float:
    """Estimate the standard deviation of Gaussian noise in an (H, W, C) image in [0, 1], the mean over channels.

    sigma = median(|d|) / 0.6745 per channel, d the diagonal details of the finest scale (Daubechies-4 wavelet at every
    shift), where no pixel of the 4x4 window is clipped to 0 or 1: clipped noise is narrower. Windows count all the same
    when fewer than a tenth are whole. Fine texture counts as noise; over 0.2, where much is clipped, the result is too
    low. scikit-image's estimate_sigma (which needs PyWavelets) is the same without the care for clipped pixels.
    Source: Donoho and Johnstone, Biometrika 1994.
    """
    return float(np.mean([_channel_noise(channel) for channel in np.moveaxis(image.astype(np.float64), -1, 0)]))


def _channel_noise(channel: np.ndarray) -> float:
    details, clipped = channel, ((channel <= 0) | (channel >= 1)).astype(np.float64)
    for axis in (0, 1):
        details = correlate1d(details, DETAIL, axis=axis, mode="reflect")
        clipped = correlate1d(clipped, np.ones(len(DETAIL)), axis=axis, mode="reflect")
    whole = clipped == 0
    return float(np.median(np.abs(details[whole] if whole.mean() >= 0.1 else details))) / NORMAL_MAD
