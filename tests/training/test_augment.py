"""Augmentation: every image moves on its own, nothing but zeros moves in, and its stream decides everything."""

import pytest
import torch

from prunelib.tasks.classify import centre
from prunelib.training.augment import augment, cut_out, flip, shift, turn


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


def test_what_moves_in_has_the_data_sets_mean_colour():
    """The images come normalised, so padding with zeros is padding with the mean (card of the expanders, section 4)."""
    mean, std = torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.25, 0.24, 0.26])
    black = (-mean / std)[:, None, None].expand(400, 3, 32, 32)
    colours = augment(black, "crop-flip", _generator()) * std[:, None, None] + mean[:, None, None]
    moved_in = (colours - mean[:, None, None]).abs().amax(1) < 1e-6
    assert moved_in.any() and torch.allclose(colours.permute(0, 2, 3, 1)[~moved_in], torch.zeros(3), atol=1e-6)
    assert moved_in.flatten(1).any(1).float().mean() > 0.9  # 80 of 81 places move something in
    assert (moved_in.sum(2) == 32).sum(1).max() == 4


@pytest.mark.parametrize(("kind", "mirrors"), [("shift", False), ("crop-flip", True)])
def test_with_a_crop_images_are_random_windows_into_which_nothing_moves(kind, mirrors):
    image = torch.arange(1.0, 65).reshape(1, 1, 8, 8)
    cut = augment(image.repeat(600, 1, 1, 1), kind, _generator(), crop=6)
    places = {(r, c): image[0, 0, r : r + 6, c : c + 6] for r in range(3) for c in range(3)}
    found = {(place, mirrored): 0 for place in places for mirrored in (False, True)}
    for one in cut[:, 0]:
        same = [
            (place, mirrored)
            for place, window in places.items()
            for mirrored in (False, True)
            if torch.equal(one, window.flip(-1) if mirrored else window)
        ]
        assert len(same) == 1
        found[same[0]] += 1
    assert all(
        count > (600 / 18 if mirrors else 600 / 9) / 2 for (_, flipped), count in found.items() if flipped <= mirrors
    )
    assert mirrors or not any(count for (_, flipped), count in found.items() if flipped)


@pytest.mark.parametrize("kind", ["none", "flip"])
def test_with_a_crop_images_that_do_not_move_are_their_centre(kind):
    images = torch.rand(50, 3, 9, 9)
    cut, middle = augment(images, kind, _generator(), crop=4), images[:, :, 2:6, 2:6]
    mirrored = (cut == middle.flip(-1)).flatten(1).all(1)
    assert torch.equal(centre(images, 4), middle)
    assert ((cut == middle).flatten(1).all(1) | mirrored).all()
    assert mirrored.any() == (kind == "flip")


def test_turns_are_about_the_centre_by_angles_up_to_half_a_turn():
    images = torch.zeros(400, 1, 33, 33)
    images[:, :, 16, 16] = 2.0
    images[:, :, 16, 28] = 1.0  # twelve pixels right of the centre
    turned = turn(images, 180.0, _generator())
    assert (turned[:, 0, 16, 16] == 2.0).all()
    found = [(image[0] == 1).nonzero().double().mean(0) - 16 for image in turned if (image == 1).any()]
    places = torch.stack(found)
    assert len(found) > 300 and (places.norm(dim=1) - 12).abs().max() < 1
    angles = torch.rad2deg(torch.atan2((-places[:, 0]).clamp(min=0), places[:, 1]))
    assert (places[:, 0] <= 0).all()  # counter-clockwise, as pictures are seen
    assert angles.min() < 10 and angles.max() > 170 and angles.median() == pytest.approx(90, abs=15)


def test_a_quarter_turn_moves_pixels_exactly():
    image = torch.rand(1, 2, 8, 8)
    drawn = torch.rand(1, generator=_generator()).item()
    assert torch.equal(turn(image, 90 / drawn, _generator()), image.rot90(1, (2, 3)))


def test_cut_out_clears_one_square_that_the_border_may_clip():
    holes = cut_out(torch.ones(600, 2, 32, 32), 16, _generator()) == 0
    assert torch.equal(holes[:, 0], holes[:, 1])
    heights, widths = holes[:, 0].any(2).sum(1), holes[:, 0].any(1).sum(1)
    assert torch.equal(holes[:, 0].flatten(1).sum(1), heights * widths)
    assert (heights.max(), widths.max(), heights.min(), widths.min()) == (16, 16, 8, 8)


@pytest.mark.parametrize("kind", ["crop-flip-rotate", "crop-flip-rotate-cutout"])
def test_longer_kinds_begin_with_the_changes_of_the_shorter_ones(kind):
    images = torch.rand(32, 1, 16, 16) + 0.5
    moved = augment(images, "crop-flip", _generator())
    changed = augment(images, kind, _generator())
    generator = _generator()
    augment(images, "crop-flip", generator)
    expected = turn(moved, 180.0, generator)
    if kind.endswith("cutout"):
        expected = cut_out(expected, 8, generator)
    assert torch.equal(changed, expected) and not torch.equal(changed, moved)
