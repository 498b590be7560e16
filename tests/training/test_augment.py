"""Augmentation: every image moves on its own, nothing but zeros moves in, and its stream decides everything."""

import pytest
import torch

from prunelib.training.augment import augment, flip, shift


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_none_changes_nothing():
    images = torch.rand(4, 3, 8, 8)
    assert augment(images, "none", _generator()) is images


def test_shifts_are_translations_that_reach_every_offset():
    images = torch.arange(1.0, 65).reshape(1, 1, 8, 8).repeat(500, 1, 1, 1)
    moved = shift(images, 1, _generator())
    padded = torch.nn.functional.pad(images[0, 0], (1, 1, 1, 1))
    windows = {(r, c): padded[r : r + 8, c : c + 8] for r in range(3) for c in range(3)}
    found = [[key for key, window in windows.items() if torch.equal(image[0], window)] for image in moved]
    assert all(len(keys) == 1 for keys in found)
    counts = torch.tensor([sum(keys == [offset] for keys in found) for offset in windows])
    assert counts.min() > 500 / 9 / 2


@pytest.mark.parametrize(("side", "reach"), [(8, 1), (28, 3), (32, 4), (64, 8)])
def test_reach_is_an_eighth_of_the_side(side, reach):
    images = torch.ones(400, 1, side, side)
    empty_rows = (augment(images, "shift", _generator()).sum(3) == 0).sum(2)
    assert empty_rows.max() == reach


def test_flip_mirrors_about_half():
    images = torch.rand(400, 2, 3, 5)
    flipped = flip(images, _generator())
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert ((flipped == images).flatten(1).all(1) ^ mirrored).all()
    assert 160 < mirrored.sum() < 240


def test_crop_flip_does_both_and_keeps_channels_together():
    image = torch.rand(1, 1, 8, 8)
    images = image.repeat(50, 3, 1, 1)
    changed = augment(images, "crop-flip", _generator())
    assert torch.equal(changed[:, 0], changed[:, 1]) and torch.equal(changed[:, 0], changed[:, 2])
    assert len({row.numpy().tobytes() for row in changed}) > 10


@pytest.mark.parametrize("kind", ["shift", "crop-flip"])
def test_the_stream_decides(kind):
    images = torch.rand(16, 3, 8, 8)
    assert torch.equal(augment(images, kind, _generator(1)), augment(images, kind, _generator(1)))
    assert not torch.equal(augment(images, kind, _generator(1)), augment(images, kind, _generator(2)))
