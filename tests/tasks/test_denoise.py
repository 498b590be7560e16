"""Denoising: the noise is what sigma says, its streams are separate, any picture is padded to fit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from prunelib import registry
from prunelib.data.datasets import Photo, write
from prunelib.data.prepare import prepare
from prunelib.errors import ConfigError
from prunelib.masks.mask import Mask
from prunelib.measure.image import psnr
from prunelib.tasks.base import alive, open_task
from tests.picture import MODEL, SIDE, denoise, write_picture

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "images"
# Lowest and highest published value, in dB; a draw of the noise moves it by 0.006 (one standard deviation).
NOISY_PSNR = {"baboon": (20.31, 20.32), "barbara": (20.19, 20.20), "lena": (20.2047, 20.22), "pepper": (20.31, 20.32)}


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    return write_picture(tmp_path_factory.mktemp("data") / "picture.h5")


def test_clean_is_the_photograph_and_noisy_is_clipped(picture):
    task = denoise(picture, sigma=0.3)
    assert task.clean.shape == task.noisy.shape == (1, 3, SIDE, SIDE)
    assert task.clean[0, :, 5, 5].tolist() == pytest.approx([26 / 255] * 3)
    assert task.noisy.min() == 0.0 and task.noisy.max() == 1.0


def test_noise_has_the_asked_deviation(tmp_path):
    task = denoise(write_picture(tmp_path / "large.h5", 96, 96), sigma=0.02)
    inside = (task.noisy > 0) & (task.noisy < 1)
    noise = (task.noisy - task.clean)[inside]
    assert noise.std().item() == pytest.approx(0.02, rel=0.02)
    assert abs(noise.mean().item()) < 0.001


def test_sigma_scales_one_and_the_same_noise(picture):
    small, large = (denoise(picture, sigma=sigma) for sigma in (0.01, 0.02))
    inside = (large.noisy > 0) & (large.noisy < 1)
    ratio = (large.noisy - large.clean)[inside] / (small.noisy - small.clean)[inside]
    assert ratio.median().item() == pytest.approx(2.0, rel=1e-3)


def test_input_is_uniform_below_a_tenth_and_fixed_by_the_seed(picture):
    first, again, other = denoise(picture), denoise(picture), denoise(picture, seed=1)
    assert first.example.shape == (1, 32, SIDE, SIDE)
    assert first.example.min() >= 0 and first.example.max() < 0.1
    assert first.example.mean().item() == pytest.approx(0.05, abs=0.001)
    assert torch.equal(first.example, again.example) and not torch.equal(first.example, other.example)
    assert torch.equal(first.noisy, again.noisy) and not torch.equal(first.noisy, other.noisy)


def test_every_generator_sees_the_same_noise(picture):
    decoder = denoise(picture, model={"builder": "deep_decoder", "options": {"k": 2, "width": 8}})
    assert decoder.example.shape == (1, 8, SIDE // 4, SIDE // 4)
    assert torch.equal(decoder.noisy, denoise(picture).noisy)


def test_building_is_repeatable_and_in_training_mode(picture):
    task = denoise(picture)
    first, second = task.build(), task.build()
    assert first.training
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_batches_and_loss(picture):
    task = denoise(picture)
    batches = list(task.batches("search", 3))
    assert len(batches) == 3
    assert all(inputs is task.example and target is task.noisy for inputs, target in batches)
    assert task.loss(task.clean + 0.5, task.clean).item() == pytest.approx(0.25)


def test_it_opens_by_name_and_a_full_mask_is_alive(picture):
    settings = {"task": {"kind": "denoise", "options": {"sigma": 0.1}}, "model": MODEL, "seed": 0}
    task = open_task(settings, picture)
    network = task.build()
    assert alive(task, network, Mask.ones(dict(network.named_parameters()))).alive
    assert registry.entry("task", "denoise").facts["loop"] == "fit_image"


@pytest.mark.parametrize(
    ("height", "width", "padded"), [(24, 26, (24, 28)), (8, 25, (12, 28)), (1, 60, (12, 60)), (250, 333, (252, 336))]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_any_size_is_padded_evenly_by_reflection(tmp_path, height, width, padded, channels):
    task = denoise(write_noise(tmp_path / "odd.h5", height, width, channels))
    assert task.clean.shape == task.noisy.shape == (1, channels, height, width)
    assert task.target.shape == (1, channels, *padded) and task.example.shape == (1, 32, *padded)
    top, left = (padded[0] - height) // 2, (padded[1] - width) // 2
    rows, columns = mirrored(height, padded[0], top), mirrored(width, padded[1], left)
    assert torch.equal(task.target, task.noisy[:, :, rows][..., columns])
    output = torch.rand(1, 3, *padded)
    inside = output[:, :, top : top + height, left : left + width]
    assert torch.equal(task.crop(output), inside if channels == 3 else inside.mean(1, keepdim=True))


def mirrored(side, padded, before):
    """The source of each pixel when a side is padded by reflection about its outermost pixels."""
    period = max(2 * side - 2, 1)
    return [min(at % period, -at % period) for at in range(-before, padded - before)]


def write_noise(path, height, width, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    write(path, Photo("noise", pixels, "made up"))
    return path


def test_a_picture_that_fits_is_its_own_target(picture):
    task = denoise(picture)
    output = torch.rand(1, 3, SIDE, SIDE)
    assert task.target is task.noisy and torch.equal(task.crop(output), output)


def test_a_grey_picture_is_the_mean_of_the_channels_drawn(tmp_path):
    task = denoise(write_noise(tmp_path / "grey.h5", SIDE, SIDE, 1))
    output = task.build()(task.example)
    assert output.shape == (1, 3, SIDE, SIDE)
    expected = ((output.mean(1, keepdim=True) - task.target) ** 2).mean()
    assert task.loss(output, task.target).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_mode_that_is_neither_rgb_nor_grey_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has 4 channels\. Allowed: 3 \(RGB\), 1 \(grey\)"):
        denoise(write_noise(tmp_path / "rgba.h5", SIDE, SIDE, 4))


def test_a_classifier_is_refused(picture):
    with pytest.raises(ConfigError):
        denoise(picture, model={"builder": "resnet_small", "options": {}})


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", sorted(NOISY_PSNR))
def test_noisy_psnr_of_the_published_images(tmp_path, name, seed):
    path = PUBLISHED / f"{name}.png"
    if not path.exists():
        pytest.skip(f"the published test image {name}.png is not here")
    prepare({"source": "image_file", "options": {"location": str(path), "legacy_resize": True}}, tmp_path / "photo.h5")
    task = denoise(tmp_path / "photo.h5", seed, {"builder": "deep_decoder", "options": {"width": 4}})
    low, high = NOISY_PSNR[name]
    assert task.clean.shape == (1, 3, 512, 512)
    assert low - 0.02 < psnr(task.noisy, task.clean).item() < high + 0.02
