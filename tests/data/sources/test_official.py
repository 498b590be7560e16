"""The official data sets, each read from a tiny file in the official form, through a mirror on loopback."""

import gzip
import hashlib
import io
import struct

import numpy as np
import pytest
from scipy.io import savemat

from prunelib.data.datasets import read_images
from prunelib.data.download import Remote
from prunelib.data.prepare import prepare
from prunelib.data.sources import cifar, flowers, idx, tiny_imagenet
from prunelib.data.sources.idx import read_idx
from prunelib.errors import DataError


def pinned(remote, content):
    """Return the same remote file with the checksum and size of other content."""
    return Remote(remote.url, hashlib.sha256(content).hexdigest(), len(content))


def get(tmp_path, name, **options):
    prepare({"source": name, "options": options}, tmp_path / "o.h5")
    return read_images(tmp_path / "o.h5")


def sizes(found):
    return {name: len(index) for name, index in found.splits.items()}


def short(text):
    return b"U" + bytes([len(text)]) + text


def batch_pickle(make, pixels, labels, key=b"labels"):
    """Return a CIFAR batch as Python 2 pickled it: {'data': uint8 (n, 3072), key: [int, ...]}."""
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    return b"\x80\x02}" + short(b"data") + make["python2_array"](pixels) + b"s" + short(key) + b"](" + numbers + b"es."


def words_pickle(key, words):
    return b"\x80\x02}" + short(key) + b"](" + b"".join(map(short, words)) + b"es."


def cifar_pixels(count, first):
    """Pixels (n, 3072): the red plane holds the row's number, green its column, blue its row in the image."""
    planes = np.zeros((count, 3, 32, 32), dtype=np.uint8)
    planes[:, 0] = (first + np.arange(count))[:, None, None]
    planes[:, 1], planes[:, 2] = np.arange(32), np.arange(32)[:, None]
    return planes.reshape(count, 3072)


def cifar10_archive(make, **changes):
    words = [f"class{label}".encode() for label in range(10)]
    files = {"cifar-10-batches-py/batches.meta": words_pickle(b"label_names", words)}
    for part in range(5):
        batch = batch_pickle(make, cifar_pixels(20, 20 * part), [*range(10)] * 2)
        files[f"cifar-10-batches-py/data_batch_{part + 1}"] = batch
    files["cifar-10-batches-py/test_batch"] = batch_pickle(make, cifar_pixels(10, 100), range(10))
    files["cifar-10-batches-py/readme.html"] = b"words"
    return make["packers"]["tar.gz"](files | changes)


@pytest.fixture
def mirror(server, monkeypatch):
    """Put content on the server under a remote's name and pin it; returns the mirror's address."""

    def put(table, key, remote, content):
        server.files[f"/mirror/{remote.name}"] = content
        if isinstance(table, dict):
            monkeypatch.setitem(table, key, pinned(remote, content))
        else:
            monkeypatch.setattr(table, key, pinned(remote, content))
        return f"{server.url}/mirror"

    return put


def test_cifar10_pixels_labels_names_and_splits(tmp_path, make, mirror, server):
    address = mirror(cifar.FILES, "cifar10", cifar.FILES["cifar10"], cifar10_archive(make))
    found = get(tmp_path, "cifar10", mirror=address)
    assert found.images.shape == (110, 32, 32, 3) and found.classes[3] == "class3"
    assert found.images[:, 5, 9].tolist() == [[row, 9, 5] for row in range(110)]
    assert found.labels.tolist() == [*range(10)] * 11
    assert sizes(found) == {"train": 90, "val": 10, "test": 10} and found.splits["test"].tolist() == [*range(100, 110)]
    assert found.source == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    digest = cifar.FILES["cifar10"].sha256
    assert found.provenance["inputs"] == {"cifar-10-python.tar.gz": digest}
    assert get(tmp_path, "cifar10", mirror=address, side=16).images.shape == (110, 16, 16, 3)
    assert len(server.seen) == 1


def test_cifar10_from_a_directory(tmp_path, make, mirror, server):
    content = cifar10_archive(make)
    mirror(cifar.FILES, "cifar10", cifar.FILES["cifar10"], content)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(content)
    assert sizes(get(tmp_path, "cifar10", mirror=str(tmp_path), val_share=0.2)) == {"train": 80, "val": 20, "test": 10}
    assert server.seen == []


def test_cifar100_takes_the_fine_labels(tmp_path, make, mirror):
    folder, fine = "cifar-100-python", b"fine_labels"
    words = [f"fine{label}".encode() for label in range(100)]
    files = {
        f"{folder}/meta": words_pickle(b"fine_label_names", words),
        f"{folder}/train": batch_pickle(make, cifar_pixels(200, 0), [*range(100)] * 2, fine),
        f"{folder}/test": batch_pickle(make, cifar_pixels(50, 200), range(50), fine),
    }
    content = make["packers"]["tar.gz"](files)
    found = get(tmp_path, "cifar100", mirror=mirror(cifar.FILES, "cifar100", cifar.FILES["cifar100"], content))
    assert len(found.classes) == 100 and found.labels[150] == 50 and found.images[201, 0, 0, 0] == 201
    assert sizes(found) == {"train": 180, "val": 20, "test": 50}


def test_a_cifar_archive_with_a_payload_a_bad_label_or_a_missing_batch_is_refused(tmp_path, make, mirror):
    ran = tmp_path / "ran"
    payload = b"cos\nsystem\n(S'touch " + str(ran).encode() + b"'\ntR."
    bad = {
        "asks for os.system": {"cifar-10-batches-py/data_batch_3": payload},
        "labels below 10": {"cifar-10-batches-py/data_batch_3": batch_pickle(make, cifar_pixels(1, 0), [10])},
        "not a batch|is not a batch": {"cifar-10-batches-py/data_batch_3": batch_pickle(make, cifar_pixels(2, 0), [1])},
    }
    for message, change in bad.items():
        address = mirror(cifar.FILES, "cifar10", cifar.FILES["cifar10"], cifar10_archive(make, **change))
        with pytest.raises(DataError, match=message):
            get(tmp_path, "cifar10", mirror=address)
    lacking = make["packers"]["tar.gz"]({"cifar-10-batches-py/test_batch": batch_pickle(make, cifar_pixels(1, 0), [0])})
    address = mirror(cifar.FILES, "cifar10", cifar.FILES["cifar10"], lacking)
    with pytest.raises(DataError, match=r"lacks cifar-10-batches-py/batches\.meta, .*data_batch_1"):
        get(tmp_path, "cifar10", mirror=address)
    assert not ran.exists() and not (tmp_path / "o.h5").exists()


def test_a_file_that_is_not_the_official_one_is_refused(tmp_path, make, server):
    content = cifar10_archive(make)
    server.files["/mirror/cifar-10-python.tar.gz"] = content
    with pytest.raises(DataError, match=rf"expected {cifar.FILES['cifar10'].sha256}"):
        get(tmp_path, "cifar10", mirror=f"{server.url}/mirror")


def idx_bytes(array):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


@pytest.fixture
def idx_mirror(server, monkeypatch):
    def put(name, train, test):
        images = [np.full((count, 28, 28), 3 + np.arange(count)[:, None, None]) for count in (train, test)]
        labels = [np.arange(count) % 10 for count in (train, test)]
        contents = [idx_bytes(array) for array in (images[0], labels[0], images[1], labels[1])]
        pins = tuple(pinned(remote, content) for remote, content in zip(idx.FILES[name], contents, strict=True))
        monkeypatch.setitem(idx.FILES, name, pins)
        server.files |= {f"/{name}/{remote.name}": content for remote, content in zip(pins, contents, strict=True)}
        return f"{server.url}/{name}"

    return put


@pytest.mark.parametrize(("name", "third"), [("fashion_mnist", "Pullover"), ("kmnist", "su")])
def test_idx_sets_pixels_labels_names_and_splits(tmp_path, idx_mirror, name, third):
    address = idx_mirror(name, 50, 20)
    found = get(tmp_path, name, mirror=address)
    assert found.images.shape == (70, 28, 28, 1) and found.classes[2] == third and len(found.classes) == 10
    assert found.images[:, 27, 0, 0].tolist() == [*range(3, 53), *range(3, 23)]
    assert found.labels.tolist() == [*range(10)] * 7
    assert sizes(found) == {"train": 45, "val": 5, "test": 20} and found.splits["test"].min() == 50
    assert len(found.provenance["inputs"]) == 4
    assert get(tmp_path, name, mirror=address, side=32).images.shape == (70, 32, 32, 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b""),
        gzip.compress(struct.pack(">HBBI", 0, 9, 1, 1) + b"x"),
        gzip.compress(struct.pack(">HBBI", 0, 8, 1, 2) + b"x"),
        gzip.compress(struct.pack(">HBBI", 0, 8, 1, 2) + b"xyz"),
        gzip.compress(struct.pack(">HBBI", 0, 8, 1, 1) + b"x")[:-9],
    ],
)
def test_broken_idx_files_are_refused(tmp_path, content):
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.gz: not a whole"):
        read_idx(tmp_path / "a.gz")


def mat(**values):
    buffer = io.BytesIO()
    savemat(buffer, values)
    return buffer.getvalue()


@pytest.fixture
def flower_mirror(make, mirror):
    def put(**changes):
        pictures = {f"jpg/image_{number:05d}.jpg": make["png"](number, (20, 10)) for number in range(12, 0, -1)}
        contents = {
            "images": make["packers"]["tar.gz"](pictures),
            "labels": mat(labels=np.array([[1, 2, 3] * 4], dtype=np.uint8)),
            "splits": mat(
                trnid=np.array([[3, 1, 2]]), valid=np.array([[4, 5, 6]]), tstid=np.array([[7, 8, 9, 10, 11, 12]])
            ),
        } | changes
        for key, content in contents.items():
            address = mirror(flowers.FILES, key, flowers.FILES[key], content)
        return address

    return put


def test_flowers_have_their_official_splits(tmp_path, flower_mirror):
    found = get(tmp_path, "flowers102", mirror=flower_mirror(), side=8)
    assert found.images.shape == (12, 8, 8, 3) and found.images[:, 0, 0, 0].tolist() == [*range(1, 13)]
    assert found.labels.tolist() == [0, 1, 2] * 4 and found.classes == ["flower 001", "flower 002", "flower 003"]
    assert {name: index.tolist() for name, index in found.splits.items()} == {
        "train": [0, 1, 2],
        "val": [3, 4, 5],
        "test": [6, 7, 8, 9, 10, 11],
    }


def test_flowers_can_swap_training_and_test_set(tmp_path, flower_mirror):
    found = get(tmp_path, "flowers102", mirror=flower_mirror(), side=8, splits="swapped")
    assert found.splits["test"].tolist() == [0, 1, 2] and sizes(found)["train"] == 6


def test_flowers_with_leaking_splits_or_broken_files_are_refused(tmp_path, flower_mirror):
    leaking = mat(trnid=np.array([[1, 2, 3]]), valid=np.array([[3, 4, 5, 6]]), tstid=np.array([[7, 8, 9, 10, 11, 12]]))
    with pytest.raises(DataError, match="do not hold each of the 12 labelled images once"):
        get(tmp_path, "flowers102", mirror=flower_mirror(splits=leaking))
    with pytest.raises(DataError, match=r"imagelabels\.mat: no Matlab file that holds 'labels'"):
        get(tmp_path, "flowers102", mirror=flower_mirror(labels=b"MATLAB 5.0 MAT-file" + bytes(200)))
    assert not (tmp_path / "o.h5").exists()


def tiny_files(make):
    top, files = "tiny-imagenet-200", {}
    for row, wnid in enumerate(("n02", "n01")):
        for number in range(10):
            name = f"{top}/train/{wnid}/images/{wnid}_{number}.JPEG"
            files[name] = make["png"]((row, number, 0), (64, 64))
        files[f"{top}/train/{wnid}/{wnid}_boxes.txt"] = b"words"
    for number in range(4):
        files[f"{top}/val/images/val_{number}.JPEG"] = make["png"]((9, number, 0), (64, 64))
    lines = [f"val_{number}.JPEG\t{('n01', 'n02')[number % 2]}\t0\t0\t9\t9\n" for number in range(4)]
    files[f"{top}/val/val_annotations.txt"] = "".join(lines).encode()
    files[f"{top}/test/images/test_0.JPEG"] = make["png"](0, (64, 64))
    return files


def test_tiny_imagenet_reads_the_annotations_and_tests_on_the_validation_set(tmp_path, make, mirror):
    content = make["zip"](tiny_files(make))
    found = get(tmp_path, "tiny_imagenet", mirror=mirror(tiny_imagenet, "FILE", tiny_imagenet.FILE, content))
    assert found.images.shape == (24, 64, 64, 3) and found.classes == ["n01", "n02"]
    assert sizes(found) == {"train": 18, "val": 2, "test": 4}
    test_images, test_labels = found.split("test")
    assert test_images[:, 0, 0].tolist() == [[9, number, 0] for number in range(4)]
    assert test_labels.tolist() == [0, 1, 0, 1]
    assert (found.labels[found.images[:, 0, 0, 0] == 0] == 1).all()  # n02 was written first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tiny-imagenet-200/val/val_annotations.txt": b""}, "lacks tiny-imagenet-200/train/ or"),
        ({"tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG n01\n"}, "holds no picture and class"),
        ({"tiny-imagenet-200/val/val_annotations.txt": b"none.JPEG\tn01\n"}, "gave 20 of 21 pictures"),
        ({"tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG\tn77\n"}, "no training image of class 2"),
    ],
)
def test_tiny_imagenet_with_broken_annotations_is_refused(tmp_path, make, mirror, change, message):
    address = mirror(tiny_imagenet, "FILE", tiny_imagenet.FILE, make["zip"](tiny_files(make) | change))
    with pytest.raises(DataError, match=message):
        get(tmp_path, "tiny_imagenet", mirror=address)
    assert not (tmp_path / "o.h5").exists()


def test_every_official_file_is_pinned_and_fetched_by_https():
    remotes = [*cifar.FILES.values(), *flowers.FILES.values(), tiny_imagenet.FILE]
    remotes += [remote for group in idx.FILES.values() for remote in group]
    assert len(remotes) == 14 == len({remote.sha256 for remote in remotes})
    for remote in remotes:
        assert remote.url.startswith("https://") and len(remote.sha256) == 64 and remote.size > 0
