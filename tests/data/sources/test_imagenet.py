"""ImageNet in place: an index is stored, pictures are read from where they are."""

import numpy as np
import pytest

from prunelib.data.datasets import read_images
from prunelib.data.in_place import FileImages
from prunelib.data.prepare import prepare
from prunelib.errors import ConfigError, DataError


@pytest.fixture
def root(tmp_path, make):
    for part, count in (("train", 10), ("val", 2)):
        for value, wnid in enumerate(("n01", "n02", "n03")):
            folder = tmp_path / "imagenet" / part / wnid
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{wnid}_{number}.JPEG").write_bytes(make["png"]((50 * value, number, 0), (40, 30)))
    return tmp_path / "imagenet"


def indexed(tmp_path, root, **options):
    prepare(
        {"source": "imagenet", "options": {"root": str(root), "side": 16, "shorter": 20, **options}}, tmp_path / "o.h5"
    )
    return read_images(tmp_path / "o.h5")


def test_the_index_holds_labels_and_splits_and_no_pixels(tmp_path, root):
    found = indexed(tmp_path, root, val_share=0.2)
    assert isinstance(found.images, FileImages) and found.images.shape == (36, 16, 16, 3)
    assert {name: np.bincount(found.labels[index]).tolist() for name, index in found.splits.items()} == {
        "train": [8, 8, 8],
        "val": [2, 2, 2],
        "test": [2, 2, 2],
    }
    assert found.classes == ["n01", "n02", "n03"] and found.mean.tolist() == [0.485, 0.456, 0.406]
    images, labels = found.split("test")
    assert images[:][:, 8, 8, 0].tolist() == [0, 0, 50, 50, 100, 100] and labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert all(path.startswith("val/") for path in images.paths)


def test_the_checksum_follows_paths_sizes_and_labels(tmp_path, root, make):
    before = indexed(tmp_path, root).sha256
    assert indexed(tmp_path, root).sha256 == before
    (root / "train" / "n01" / "n01_0.JPEG").write_bytes(make["noise"](0))
    assert indexed(tmp_path, root).sha256 != before


def test_class_folders_may_be_links(tmp_path, root):
    (root / "train" / "n03").rename(tmp_path / "elsewhere")
    (root / "train" / "n03").symlink_to(tmp_path / "elsewhere")
    assert len(indexed(tmp_path, root).labels) == 36


def test_what_can_not_be_is_refused(tmp_path, root, make):
    with pytest.raises(DataError, match="shorter = 20 leaves no central 32 x 32"):
        indexed(tmp_path, root, side=32)
    with pytest.raises(ConfigError, match="interpolation: got 'nearest'"):
        indexed(tmp_path, root, interpolation="nearest")
    (root / "val" / "stray.JPEG").write_bytes(make["png"]())
    with pytest.raises(DataError, match=r"'val/stray\.JPEG' does not lie in a class folder"):
        indexed(tmp_path, root)


def test_any_class_folders_can_stay_where_they_are(tmp_path, root):
    spec = {"source": "folder_in_place", "options": {"location": str(root / "train"), "side": 16, "shorter": 20}}
    prepare(spec, tmp_path / "o.h5")
    found = read_images(tmp_path / "o.h5")
    assert isinstance(found.images, FileImages) and found.images.shape == (30, 16, 16, 3)
    assert {name: len(index) for name, index in found.splits.items()} == {"train": 22, "val": 2, "test": 6}
    assert found.classes == ["n01", "n02", "n03"] and found.mean.tolist() == [0.485, 0.456, 0.406]


def test_an_archive_can_not_be_read_in_place(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="is no directory; source 'folder' reads archives"):
        prepare({"source": "folder_in_place", "options": {"location": str(tmp_path / "set.zip")}}, tmp_path / "o.h5")


def test_a_picture_comes_at_its_own_size(tmp_path, root):
    images = indexed(tmp_path, root).images
    assert images.picture(0).size == (40, 30) and images.picture(0).mode == "RGB"
    (images.root / images.paths[1]).write_bytes(b"torn")
    with pytest.raises(DataError, match="it had"):
        images.picture(1)
