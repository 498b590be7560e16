"""Data files: what is written comes back, damage is refused, pictures in place are read when asked for."""

import random

import h5py
import numpy as np
import pytest

from prunelib.data.datasets import Photo, assemble, read_images, read_photo, write
from prunelib.data.images import Form
from prunelib.data.in_place import FileImages
from prunelib.errors import ArtefactError, DataError


def some_set(**changes):
    random_state = np.random.default_rng(0)
    images = random_state.integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
    values = {
        "name": "some",
        "images": images,
        "labels": np.tile(np.arange(3), 4),
        "splits": {"train": np.arange(6), "val": np.arange(6, 9), "test": np.arange(9, 12)},
        "classes": ["a", "ß", "c d"],
        "source": "here",
        "inputs": {"x.zip": "0" * 64},
    }
    return assemble(**(values | changes))


def test_an_image_set_comes_back_whole(tmp_path):
    made = some_set()
    write(tmp_path / "some.h5", made)
    found = read_images(tmp_path / "some.h5")
    assert found.images.dtype == np.uint8 and np.array_equal(found.images, made.images)
    assert found.labels.dtype == np.int64 and np.array_equal(found.labels, made.labels)
    assert found.classes == ["a", "ß", "c d"] and found.name == "some" and found.source == "here"
    assert found.sha256 == made.sha256 and found.provenance == {"inputs": {"x.zip": "0" * 64}}
    assert np.array_equal(found.mean, made.mean) and np.array_equal(found.std, made.std)
    images, labels = found.split("val")
    assert np.array_equal(images, made.images[6:9]) and labels.tolist() == [0, 1, 2]


def test_the_figures_are_those_of_the_training_split():
    made = some_set()
    values = made.images[:6] / 255
    assert np.allclose(made.mean, values.mean(axis=(0, 1, 2))) and np.allclose(made.std, values.std(axis=(0, 1, 2)))


def test_the_checksum_covers_pixels_and_labels():
    first = some_set()
    pixels = first.images.copy()
    pixels[0, 0, 0, 0] ^= 1
    assert len({first.sha256, some_set(images=pixels).sha256, some_set(labels=np.tile([0, 2, 1], 4)).sha256}) == 3
    assert some_set(name="other").sha256 == first.sha256


def test_the_same_set_gives_the_same_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        write(tmp_path / name, some_set())
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_photo_comes_back(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write(tmp_path / "p.h5", Photo("p", image, "here"))
    assert np.array_equal(read_photo(tmp_path / "p.h5"), image)


def test_a_photo_is_no_image_set_and_the_other_way_round(tmp_path):
    write(tmp_path / "p.h5", Photo("p", np.zeros((2, 2, 3), dtype=np.uint8), "here"))
    write(tmp_path / "s.h5", some_set())
    with pytest.raises(ArtefactError, match=r"p\.h5: holds 'prunelib-photo-1'; expected prunelib-images-1"):
        read_images(tmp_path / "p.h5")
    with pytest.raises(ArtefactError, match=r"s\.h5: holds 'prunelib-images-1'; expected prunelib-photo-1"):
        read_photo(tmp_path / "s.h5")


def test_damaged_truncated_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "s.h5"
    write(path, some_set())
    content = path.read_bytes()
    draw = random.Random(0)
    for _ in range(100):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ArtefactError, match=r"s\.h5"):
            read_images(path)
    for share in (0, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ArtefactError, match=r"s\.h5"):
            read_images(path)
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((2, 2, 2, 3), dtype=np.uint8)
    with pytest.raises(ArtefactError, match="not an HDF5 file of this project"):
        read_images(path)


def test_splits_that_leak_are_refused_when_written_and_when_read(tmp_path, monkeypatch):
    leaky = {"train": np.arange(6), "val": np.arange(5, 9), "test": np.arange(9, 12)}
    with pytest.raises(DataError, match="exactly once"):
        some_set(splits=leaky)
    monkeypatch.setattr("prunelib.data.datasets.check", lambda *arguments: None)
    write(tmp_path / "s.h5", some_set(splits=leaky))
    monkeypatch.undo()
    with pytest.raises(ArtefactError, match=r"s\.h5: its splits"):
        read_images(tmp_path / "s.h5")


@pytest.fixture
def in_place(tmp_path, make):
    (tmp_path / "pictures").mkdir()
    names = [f"{number}.png" for number in range(5)]
    for number, name in enumerate(names):
        (tmp_path / "pictures" / name).write_bytes(make["png"](number * 10, (12, 8)))
    sizes = np.array([(tmp_path / "pictures" / name).stat().st_size for name in names])
    return FileImages(tmp_path / "pictures", names, sizes, Form(4, shorter=6, interpolation="bilinear"))


def test_pictures_in_place_are_indexed_like_an_array(in_place):
    assert in_place.shape == (5, 4, 4, 3) and len(in_place) == 5
    assert in_place[np.array([3, 0])][:, 0, 0, 0].tolist() == [30, 0]
    assert in_place[1:3].shape == (2, 4, 4, 3) and in_place[np.arange(0)].shape == (0, 4, 4, 3)
    assert in_place.subset(np.array([4, 2]))[:][:, 0, 0, 0].tolist() == [40, 20]


def test_a_picture_that_changed_or_went_is_named(in_place, make):
    (in_place.root / "2.png").write_bytes(make["png"](0, (40, 40)))
    with pytest.raises(DataError, match=r"2\.png: has \d+ bytes; it had \d+ when it was indexed"):
        in_place[np.array([2])]
    (in_place.root / "2.png").unlink()
    with pytest.raises(DataError, match=r"2\.png: can't be read"):
        in_place[np.array([2])]
