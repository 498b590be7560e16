"""Folders and archives of the user's own, by path and by address."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from prunelib.data.datasets import read_images, read_photo
from prunelib.data.prepare import prepare
from prunelib.data.sources.folder import arrange
from prunelib.errors import DataError

PUBLISHED = Path(__file__).parents[4] / "shared" / "data" / "images"
CIFAR = Path(__file__).parents[4] / "shared" / "data" / "cifar10-images.tar.gz"


def spread(top, files):
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    return top


def folder(output, location, **options):
    prepare({"source": "folder", "options": {"location": str(location), "side": 8, **options}}, output)
    return read_images(output)


def classes_of(make, parts=("",), count=10):
    return {
        f"{part}{label}/{number:02d}.png": make["png"]((value, number, 0))
        for part in parts
        for value, label in ((10, "cat"), (200, "dog"))
        for number in range(count)
    }


def test_plain_class_folders_are_split_per_class(tmp_path, make):
    found = folder(tmp_path / "o.h5", spread(tmp_path / "set", classes_of(make)))
    assert found.classes == ["cat", "dog"] and found.images.shape == (20, 8, 8, 3)
    assert found.images[:, 0, 0, 0].tolist() == [10] * 10 + [200] * 10
    assert found.images[:, 0, 0, 1].tolist() == [*range(10), *range(10)]  # sorted by path
    assert found.labels.tolist() == [0] * 10 + [1] * 10
    assert {name: np.bincount(found.labels[index]).tolist() for name, index in found.splits.items()} == {
        "test": [2, 2],
        "val": [1, 1],
        "train": [7, 7],
    }


def test_folder_and_archives_give_the_same_pixels_labels_and_splits(tmp_path, make):
    files = classes_of(make)
    spread(tmp_path / "set", files)
    shuffled = dict(sorted(files.items(), key=lambda item: hashlib.sha256(item[0].encode()).digest()))
    locations = [tmp_path / "set"]
    for form, pack in make["packers"].items():
        locations.append(tmp_path / f"set.{form}")
        locations[-1].write_bytes(pack({f"some/top/{name}": content for name, content in shuffled.items()}))
    found = [folder(tmp_path / "o.h5", location) for location in locations]
    assert len({item.sha256 for item in found}) == 1
    assert all(np.array_equal(item.splits["test"], found[0].splits["test"]) for item in found)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders_are_taken_as_they_are(tmp_path, make, val):
    found = folder(tmp_path / "o.h5", spread(tmp_path / "set", classes_of(make, ("train/", f"{val}/", "test/"), 3)))
    assert {name: len(index) for name, index in found.splits.items()} == {"train": 6, "val": 6, "test": 6}
    assert found.classes == ["cat", "dog"]


def test_train_and_test_leave_validation_to_be_drawn_from_train(tmp_path, make):
    found = folder(tmp_path / "o.h5", spread(tmp_path / "set", classes_of(make, ("train/", "test/"))), val_share=0.2)
    assert {name: len(index) for name, index in found.splits.items()} == {"train": 16, "val": 4, "test": 20}
    with pytest.raises(DataError, match=r"test_share = 0\.5, but there is a test set already"):
        folder(tmp_path / "p.h5", tmp_path / "set", test_share=0.5)
    assert not (tmp_path / "p.h5").exists()


def test_mixed_sizes_grey_and_other_files(tmp_path, make):
    files = {
        "a/1.png": make["png"](10, (30, 20)),
        "a/2.PNG": make["png"](20, (5, 5), "L"),
        "b/deep/er/3.png": make["png"](30, (8, 8), "L"),
        "b/4.png": make["png"](40, (8, 16)),
        "b/._4.png": b"junk of another system",
        "__MACOSX/b/4.png": b"junk",
        "b/notes.txt": b"words",
        "README.md": b"words",
    }
    found = folder(tmp_path / "o.h5", spread(tmp_path / "set", files), val_share=0.0, test_share=0.0)
    assert found.images.shape == (4, 8, 8, 3) and found.images[:, 4, 4].tolist() == [[v] * 3 for v in (10, 20, 40, 30)]
    grey = folder(tmp_path / "g.h5", tmp_path / "set", val_share=0.0, test_share=0.0, grey=True)
    assert grey.images.shape == (4, 8, 8, 1) and grey.mean.shape == (1,)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no pictures"),
        (["a/x.txt"], "holds no pictures"),
        (["a/1.png", "a/2.png"], "1 class folder"),
        (["1.png", "a/2.png"], "'1.png' does not lie in a class folder"),
        (["train/a/1.png", "train/b/1.png", "train/1.png"], "'train/1.png' does not lie in a class folder"),
        (["train/a/1.png", "train/b/1.png", "extra/a/1.png"], "'extra/a/1.png' does not lie in a class folder"),
        (["train/a/1.png", "train/b/1.png", "test/c/1.png"], r"'test/c/1.png' is of a class \('c'\) that test has"),
        (["train/a/1.png", "test/a/1.png", "test/b/1.png"], "1 class folder"),
    ],
)
def test_layouts_that_mean_nothing_are_refused(names, message):
    with pytest.raises(DataError, match=message):
        arrange(names, "set")


def test_layouts_are_told_apart():
    assert arrange(["train/a/1.png", "train/b/1.png"], "x") == {
        "train/a/1.png": ("train", "a"),
        "train/b/1.png": ("train", "b"),
    }
    wrapped = arrange(["set/v1/b/1.png", "set/v1/a/1.png"], "x")
    assert list(wrapped.items()) == [("set/v1/a/1.png", ("train", "a")), ("set/v1/b/1.png", ("train", "b"))]
    tiny = arrange(["t/train/n1/images/1.png", "t/train/n2/images/1.png", "t/val/n1/1.png"], "x")
    assert tiny["t/train/n2/images/1.png"] == ("train", "n2") and tiny["t/val/n1/1.png"] == ("val", "n1")


def test_an_address_needs_a_checksum_and_is_fetched_once(tmp_path, make, server, cache):
    content = make["packers"]["zip"](classes_of(make))
    server.files["/set.zip"] = content
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(DataError, match=r"set\.zip: an address needs 'sha256'"):
        folder(tmp_path / "o.h5", f"{server.url}/set.zip")
    assert server.seen == []
    for _ in range(2):
        found = folder(tmp_path / "o.h5", f"{server.url}/set.zip?token=secret", sha256=digest)
    assert len(server.seen) == 1 and len(found.labels) == 20
    assert found.source == f"{server.url}/set.zip" and found.provenance["inputs"] == {"set.zip": digest}
    assert b"secret" not in (tmp_path / "o.h5").read_bytes()


def test_a_wrong_checksum_or_a_broken_download_leaves_no_output(tmp_path, make, server):
    content = make["packers"]["zip"](classes_of(make))
    server.files["/set.zip"] = content
    with pytest.raises(DataError, match="expected 0000"):
        folder(tmp_path / "o.h5", f"{server.url}/set.zip", sha256="0" * 64)
    server.cuts = [100] * 3
    with pytest.raises(DataError, match="run again to go on"):
        folder(tmp_path / "o.h5", f"{server.url}/set.zip", sha256=hashlib.sha256(content).hexdigest())
    assert not (tmp_path / "o.h5").exists()
    folder(tmp_path / "o.h5", f"{server.url}/set.zip", sha256=hashlib.sha256(content).hexdigest())


def test_checksums_of_local_archives_are_compared_and_those_of_directories_refused(tmp_path, make):
    archive = tmp_path / "set.tar"
    archive.write_bytes(make["packers"]["tar"](classes_of(make)))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert folder(tmp_path / "o.h5", archive, sha256=digest).provenance["inputs"] == {"set.tar": digest}
    with pytest.raises(DataError, match="expected 1111"):
        folder(tmp_path / "o.h5", archive, sha256="1" * 64)
    spread(tmp_path / "set", classes_of(make))
    with pytest.raises(DataError, match="'sha256' is for archives"):
        folder(tmp_path / "o.h5", tmp_path / "set", sha256=digest)


def test_a_corrupt_picture_is_named_and_nothing_is_written(tmp_path, make):
    files = classes_of(make) | {"dog/05.png": b"broken"}
    (tmp_path / "set.zip").write_bytes(make["packers"]["zip"](files))
    with pytest.raises(DataError, match=r"set\.zip: dog/05\.png: not a readable picture"):
        folder(tmp_path / "o.h5", tmp_path / "set.zip")
    assert not (tmp_path / "o.h5").exists()


def test_any_picture_file_becomes_a_photo(tmp_path, make):
    (tmp_path / "my picture.png").write_bytes(make["png"]((1, 2, 3), (10, 6)))
    spec = {"source": "image_file", "options": {"location": str(tmp_path / "my picture.png")}}
    prepare(spec, tmp_path / "p.h5")
    found = read_photo(tmp_path / "p.h5")
    assert found.shape == (6, 10, 3) and found[0, 0].tolist() == [1, 2, 3]
    prepare(spec | {"options": spec["options"] | {"side": 16, "grey": True}}, tmp_path / "p.h5")
    assert read_photo(tmp_path / "p.h5").shape == (16, 16, 1)
    with pytest.raises(DataError, match="is a directory"):
        prepare({"source": "image_file", "options": {"location": str(tmp_path)}}, tmp_path / "q.h5")


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR.exists(), reason="no ../shared/data/cifar10-images.tar.gz beside the repository")
def test_the_cifar_10_jpeg_archive_is_prepared_exactly(tmp_path):
    found = folder(tmp_path / "o.h5", CIFAR, side=32)
    assert found.images.shape == (60000, 32, 32, 3) and np.bincount(found.labels).tolist() == [6000] * 10
    assert {name: np.bincount(found.labels[index]).tolist() for name, index in found.splits.items()} == {
        "train": [4500] * 10,
        "val": [500] * 10,
        "test": [1000] * 10,
    }
    assert found.classes[0] == "airplane" and found.classes[-1] == "truck"
    assert np.allclose(found.mean, [0.491, 0.482, 0.447], atol=0.002)
    assert np.allclose(found.std, [0.245, 0.243, 0.261], atol=0.002)


@pytest.mark.parametrize(("name", "size"), [("baboon", None), ("barbara", None), ("lena", 512), ("pepper", 512)])
def test_legacy_resize_of_the_published_images(tmp_path, name, size):
    path = PUBLISHED / f"{name}.png"
    if not path.exists():
        pytest.skip(f"the published test image {name}.png is not here")
    for option in ({"legacy_resize": True}, {}):
        prepare({"source": "image_file", "options": {"location": str(path), **option}}, tmp_path / f"{len(option)}.h5")
    legacy, plain = read_photo(tmp_path / "1.h5"), read_photo(tmp_path / "0.h5")
    assert legacy.shape == (512, 512, 3)
    assert np.array_equal(legacy, plain) == (size == 512)
