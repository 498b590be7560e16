"""Embedded data: exact counts, shapes and checksums."""

import hashlib

import numpy as np
import pytest

from prunelib.data.datasets import read_images, read_photo
from prunelib.data.prepare import prepare
from prunelib.errors import DataError

DIGITS = "0b7e9c3202d7bcd255d6a19a238d3743bf5e320ba74812a6679958a017c55382"
ASTRONAUT = "a8c429c18afa7b0fd5673e598d73a21225d94c864a71bbb3885126fdecb41071"
PHOTOS = {
    "astronaut": (512, 512),
    "camera": (512, 512),
    "chelsea": (300, 451),
    "coffee": (400, 600),
    "coins": (303, 384),
    "moon": (512, 512),
    "rocket": (427, 640),
}


def test_digits_are_1797_images_with_known_pixels_and_labels(tmp_path):
    prepare({"source": "digits"}, tmp_path / "d.h5")
    found = read_images(tmp_path / "d.h5")
    assert found.images.shape == (1797, 8, 8, 1) and found.images.dtype == np.uint8
    assert np.unique(found.images).tolist() == np.rint(np.arange(17) * 255 / 16).astype(int).tolist()
    assert np.bincount(found.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert {name: len(index) for name, index in found.splits.items()} == {"train": 1146, "val": 202, "test": 449}
    assert found.classes == list("0123456789") and found.sha256 == DIGITS


def test_the_seed_moves_the_splits_and_nothing_else(tmp_path):
    for seed in (0, 1):
        prepare({"source": "digits", "seed": seed}, tmp_path / f"{seed}.h5")
    first, second = (read_images(tmp_path / f"{seed}.h5") for seed in (0, 1))
    assert first.sha256 == second.sha256
    assert not np.array_equal(first.splits["test"], second.splits["test"])


def test_digits_resize(tmp_path):
    prepare({"source": "digits", "options": {"side": 32}}, tmp_path / "d.h5")
    assert read_images(tmp_path / "d.h5").images.shape == (1797, 32, 32, 1)


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_have_their_known_size_as_rgb(tmp_path, name):
    prepare({"source": "photo", "options": {"name": name}}, tmp_path / "p.h5")
    found = read_photo(tmp_path / "p.h5")
    assert found.shape == (*PHOTOS[name], 3) and found.dtype == np.uint8 and found.std() > 5


def test_a_lossless_photo_has_known_pixels(tmp_path):
    prepare({"source": "photo"}, tmp_path / "p.h5")
    assert hashlib.sha256(read_photo(tmp_path / "p.h5")).hexdigest() == ASTRONAUT


def test_a_resized_photo_looks_like_the_photo(tmp_path):
    prepare({"source": "photo", "options": {"name": "coffee"}}, tmp_path / "full.h5")
    prepare({"source": "photo", "options": {"name": "coffee", "side": 64}}, tmp_path / "small.h5")
    full, small = read_photo(tmp_path / "full.h5"), read_photo(tmp_path / "small.h5")
    assert small.shape == (64, 64, 3)
    centre = full[:, 100:500].astype(float)
    assert np.allclose(small.mean(axis=(0, 1)), centre.mean(axis=(0, 1)), atol=1.0)


def test_grey_photos_have_one_channel(tmp_path):
    prepare({"source": "photo", "options": {"name": "camera", "side": 128, "grey": True}}, tmp_path / "p.h5")
    assert read_photo(tmp_path / "p.h5").shape == (128, 128, 1)


@pytest.mark.parametrize(("name", "side"), [("chelsea", 480), ("coins", 480), ("coffee", 512), ("camera", 512)])
def test_legacy_resize_stretches_to_the_nearest_of_three_sides(tmp_path, name, side):
    prepare({"source": "photo", "options": {"name": name, "legacy_resize": True}}, tmp_path / "legacy.h5")
    prepare({"source": "photo", "options": {"name": name, "side": side, "fit": "stretch"}}, tmp_path / "same.h5")
    found = read_photo(tmp_path / "legacy.h5")
    assert found.shape == (side, side, 3) and np.array_equal(found, read_photo(tmp_path / "same.h5"))


def test_legacy_resize_goes_with_no_side(tmp_path):
    with pytest.raises(DataError, match="side: got 64, but legacy_resize chooses the side itself"):
        prepare({"source": "photo", "options": {"side": 64, "legacy_resize": True}}, tmp_path / "p.h5")
