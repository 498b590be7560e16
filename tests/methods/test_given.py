"""A mask from a file is used as it is, once its checksum, its length and its density fit."""

import hashlib

import numpy as np
import pytest

from prunelib.errors import ArtefactError, MethodError
from prunelib.methods.given import given
from prunelib.seeds import generator
from tests.picture import denoise, write_picture


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return denoise(write_picture(tmp_path_factory.mktemp("data") / "picture.h5"))


@pytest.fixture
def bits(task, tmp_path):
    """A tenth of all parameters, and the packed file of it."""
    total = sum(parameter.numel() for parameter in task.build().parameters())
    bits = np.random.default_rng(0).permutation(total) < total // 10
    (tmp_path / "mask.bits").write_bytes(np.packbits(bits).tobytes())
    return bits


def find(task, path, density, **options):
    return given(task, {"kind": "density", "value": density}, generator(0, "search"), location=str(path), **options)


def test_the_file_s_bits_are_the_mask(task, bits, tmp_path):
    digest = hashlib.sha256((tmp_path / "mask.bits").read_bytes()).hexdigest()
    for sha256 in (None, digest, digest.upper()):
        mask = find(task, tmp_path / "mask.bits", 0.1, sha256=sha256)
        assert np.array_equal(mask.flat(), bits)
        assert list(mask) == [name for name, _ in task.build().named_parameters()]


@pytest.mark.parametrize(("density", "fits"), [(0.1009, True), (0.0992, True), (0.102, False), (0.05, False)])
def test_the_budget_says_what_the_file_keeps(task, bits, tmp_path, density, fits):
    if fits:
        assert find(task, tmp_path / "mask.bits", density).kept == bits.sum()
    else:
        with pytest.raises(MethodError, match=rf"keeps 0\.09993 of the parameters; the budget says {density:.4g}"):
            find(task, tmp_path / "mask.bits", density)


def test_another_file_and_another_length_are_refused(task, bits, tmp_path):
    with pytest.raises(ArtefactError, match="its sha256 is"):
        find(task, tmp_path / "mask.bits", 0.1, sha256="0" * 64)
    np.save(tmp_path / "short.npy", bits[:-1])
    with pytest.raises(MethodError, match=f"network of {len(bits)} parameters"):
        find(task, tmp_path / "short.npy", 0.1)
