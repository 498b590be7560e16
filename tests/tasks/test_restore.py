"""Restoring: the picture is taken as it is, and the noise in it is found within 15 %."""

import numpy as np
import pytest
import torch

from prunelib import registry
from prunelib.data.datasets import Photo, write
from prunelib.data.sources.embedded import photo
from prunelib.tasks.base import open_task
from prunelib.tasks.restore import Restore
from tests.picture import MODEL

DECODER = {"builder": "deep_decoder", "options": {"width": 4, "k": 2}}


def noisy_photo(path, sigma, name="chelsea", **options):
    clean = photo(0, name=name, **options).image / 255
    noisy = np.clip(clean + sigma * np.random.default_rng(0).normal(size=clean.shape), 0, 1)
    write(path, Photo(name, np.rint(noisy * 255).astype(np.uint8), "made up"))
    return path


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.2])
@pytest.mark.parametrize(("name", "grey"), [("chelsea", False), ("astronaut", False), ("coins", True)])
def test_the_noise_is_estimated(tmp_path, sigma, name, grey):
    task = Restore(noisy_photo(tmp_path / "p.h5", sigma, name, grey=grey), DECODER, 0)
    assert task.sigma == pytest.approx(sigma, rel=0.15)


def test_a_given_sigma_is_taken(tmp_path):
    assert Restore(noisy_photo(tmp_path / "p.h5", 0.05, side=24), MODEL, 0, sigma=0.3).sigma == 0.3


def test_the_picture_is_fitted_as_it_is(tmp_path):
    path = noisy_photo(tmp_path / "p.h5", 0.1, side=30)
    task = open_task({"task": {"kind": "restore", "options": {}}, "model": MODEL, "seed": 0}, path)
    assert task.clean is None and task.kind == "restore"
    assert task.noisy.shape == (1, 3, 30, 30) and task.target.shape == (1, 3, 32, 32)
    assert torch.equal(task.noisy * 255, (task.noisy * 255).round())  # no noise on top of the 8 bits that were read
    assert task.loss(task.build()(task.example), task.target).isfinite()
    assert registry.entry("task", "restore").facts["loop"] == "fit_image"
