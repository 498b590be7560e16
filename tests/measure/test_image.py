"""PSNR and SSIM are scikit-image's, and pixels are rounded to the nearest level."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from prunelib.measure.image import psnr, ssim, to_pixels

random = np.random.default_rng(0)


def test_psnr_equals_scikit_image_over_all_channels():
    first, second = random.random((2, 1, 3, 9, 11)).astype(np.float32)
    expected = peak_signal_noise_ratio(second, first, data_range=1.0)
    assert psnr(torch.from_numpy(first), torch.from_numpy(second)).item() == pytest.approx(expected, abs=1e-4)


def test_psnr_of_a_known_error():
    assert psnr(torch.full((1, 3, 4, 4), 0.6), torch.full((1, 3, 4, 4), 0.5)).item() == pytest.approx(20.0, abs=1e-4)


def test_psnr_tracks_no_gradient():
    assert not psnr(torch.rand(1, 3, 4, 4, requires_grad=True), torch.rand(1, 3, 4, 4)).requires_grad


def test_ssim_of_an_image_with_itself_is_one_and_falls_with_noise():
    image = np.tile(np.linspace(0, 1, 32)[:, None, None], (1, 32, 3))
    noisy = [np.clip(image + sigma * random.normal(size=image.shape), 0, 1) for sigma in (0.05, 0.2)]
    assert ssim(image, image) == 1.0
    assert 1 > ssim(noisy[0], image) > ssim(noisy[1], image) > 0
    assert ssim(noisy[0], image) == structural_similarity(noisy[0], image, data_range=1.0, channel_axis=-1)


def test_ssim_of_an_image_smaller_than_the_window():
    image = random.random((6, 6, 3))
    assert ssim(image, image) == 1.0
    assert ssim(image[:3], image[:3]) == 1.0
    assert ssim(image[:2], image[:2]) is None


def test_pixels_are_rounded_and_clipped():
    image = torch.tensor([-0.2, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 1.7]).reshape(1, 1, 2, 3)
    assert to_pixels(image)[..., 0].tolist() == [[0, 0, 0], [1, 255, 255]]
    assert to_pixels(torch.rand(1, 3, 4, 5)).shape == (4, 5, 3)
