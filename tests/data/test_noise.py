"""The noise in a picture is found, clipped or not, and a picture of one colour has none."""

import warnings

import numpy as np
import pytest

from prunelib.data.noise import noise_level


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.15])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_on_a_flat_image_is_found(sigma, channels):
    noisy = 0.5 + sigma * np.random.default_rng(1).normal(size=(200, 200, channels))
    assert noise_level(noisy) == pytest.approx(sigma, rel=0.03)


def test_pixels_clipped_to_black_do_not_hide_the_noise():
    image = np.zeros((200, 200, 1))
    image[:, 80:] = 0.5
    noisy = np.clip(image + 0.1 * np.random.default_rng(1).normal(size=image.shape), 0, 1)
    assert noise_level(noisy) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("shape", [(1, 40, 3), (40, 1, 1), (1, 1, 3), (5, 5, 1)])
def test_noise_in_an_image_of_one_colour_is_none_whatever_its_size(shape):
    with warnings.catch_warnings(action="error"):
        assert noise_level(np.full(shape, 0.4)) == pytest.approx(0, abs=1e-12)
        assert noise_level(np.zeros(shape)) == 0
