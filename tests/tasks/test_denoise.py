"""Denoising: the noise is what sigma says, its streams are separate, and what can't be drawn is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from prunelib import registry
from prunelib.data.datasets import Photo, write
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


@pytest.mark.parametrize(("height", "width"), [(24, 26), (8, 24), (25, 25)])
def test_an_image_that_can_t_be_drawn_is_refused(tmp_path, height, width):
    path = write_picture(tmp_path / "odd.h5", height, width)
    with pytest.raises(ConfigError, match="an hourglass of 2 levels needs a multiple of 4, at least 12 pixels"):
        denoise(path)


def test_a_grey_image_is_refused(tmp_path):
    write(tmp_path / "grey.h5", Photo("grey", np.zeros((SIDE, SIDE, 1), dtype=np.uint8), "made up"))
    with pytest.raises(ConfigError, match="has 1 channel"):
        denoise(tmp_path / "grey.h5")


def test_a_classifier_is_refused(picture):
    with pytest.raises(ConfigError):
        denoise(picture, model={"builder": "resnet_small", "options": {}})


@pytest.mark.parametrize("name", sorted(NOISY_PSNR))
def test_noisy_psnr_of_the_published_images(tmp_path, name):
    path = PUBLISHED / f"{name}.png"
    if not path.exists():
        pytest.skip(f"the published test image {name}.png is not here")
    image = Image.open(path).convert("RGB").resize((512, 512), Image.Resampling.LANCZOS)
    write(tmp_path / "photo.h5", Photo(name, np.asarray(image), "published"))
    task = denoise(tmp_path / "photo.h5", model={"builder": "deep_decoder", "options": {"width": 4}})
    low, high = NOISY_PSNR[name]
    assert low - 0.02 < psnr(task.noisy, task.clean).item() < high + 0.02
