"""Sealed HDF5 files: round trips, same bytes, and every kind of damage refused by name."""

import os
import random
import signal
import time
from io import FileIO

import h5py
import numpy as np
import pytest

from prunelib.errors import ArtefactError
from prunelib.storage.hdf5 import BLOCK, HISTORY, creating, load_history, reading, save_history

COLUMNS = {"step": [0, 50, 100], "loss": [0.5, 0.25, None], "psnr": [10.0, 20.5, 21.25]}


@pytest.fixture
def history(tmp_path):
    path = tmp_path / "history.h5"
    save_history(path, COLUMNS, {"noisy": np.arange(12, dtype=np.uint8).reshape(2, 2, 3)})
    return path


def test_a_history_comes_back_in_order_with_none_as_nan(history):
    found = load_history(history)
    assert list(found.columns) == ["step", "loss", "psnr"]
    assert found.columns["step"].dtype == np.float64 and found.columns["step"].tolist() == [0.0, 50.0, 100.0]
    assert found.columns["loss"][:2].tolist() == [0.5, 0.25] and np.isnan(found.columns["loss"][2])
    assert found.images["noisy"].dtype == np.uint8 and found.images["noisy"].sum() == 66


def test_other_readers_see_plain_hdf5(history):
    with h5py.File(history) as file:
        assert file.userblock_size == BLOCK
        assert file["columns/psnr"][1] == 20.5


def test_the_same_content_gives_the_same_bytes_whenever_it_is_written(tmp_path):
    save_history(tmp_path / "a.h5", COLUMNS)
    time.sleep(1.1)  # HDF5 would store whole seconds
    save_history(tmp_path / "b.h5", COLUMNS)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_columns_of_different_length_are_a_programming_error(tmp_path):
    with pytest.raises(ValueError, match="equally long"):
        save_history(tmp_path / "h.h5", {"step": [1, 2], "loss": [1.0]})
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(history):
    before = history.read_bytes()
    with pytest.raises(RuntimeError, match="stop"), creating(history, HISTORY) as file:
        file.create_dataset("columns/step", data=[1.0])
        raise RuntimeError("stop")
    assert history.read_bytes() == before
    assert [path.name for path in history.parent.iterdir()] == ["history.h5"]


def test_every_one_of_200_flipped_bits_is_found(history):
    content = history.read_bytes()
    draw = random.Random(0)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        history.write_bytes(damaged)
        with pytest.raises(ArtefactError, match=r"history\.h5"):
            load_history(history)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(history, share):
    content = history.read_bytes()
    history.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtefactError, match=r"history\.h5"):
        load_history(history)


def test_a_missing_file_a_foreign_file_and_another_format_are_refused(tmp_path):
    with pytest.raises(ArtefactError, match="missing"):
        load_history(tmp_path / "none.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["columns/step"] = [1.0]
    with pytest.raises(ArtefactError, match="not an HDF5 file of this project"):
        load_history(tmp_path / "foreign.h5")
    with creating(tmp_path / "other.h5", "prunelib-other-1"):
        pass
    with pytest.raises(ArtefactError, match=r"prunelib-other-1.*expected prunelib-history-1"):
        load_history(tmp_path / "other.h5")
    with pytest.raises(ArtefactError, match="can't be read"):
        load_history(tmp_path)


def test_what_is_not_there_is_an_error_that_names_the_file(tmp_path):
    with creating(tmp_path / "empty.h5", HISTORY):
        pass
    with pytest.raises(ArtefactError, match=r"empty\.h5.*columns"):
        load_history(tmp_path / "empty.h5")


def _soft(file, elsewhere):
    file["columns/step"] = h5py.SoftLink("/other")


def _external(file, elsewhere):
    file["columns/step"] = h5py.ExternalLink(str(elsewhere), "/secret")


def _external_data(file, elsewhere):
    file.create_dataset("columns/step", (4,), np.uint8, external=[(str(elsewhere), 0, 4)])


def _virtual(file, elsewhere):
    layout = h5py.VirtualLayout(shape=(4,), dtype=np.uint8)
    layout[:] = h5py.VirtualSource(str(elsewhere), "secret", shape=(4,))
    file.create_virtual_dataset("columns/step", layout)


def _huge(file, elsewhere):
    file.create_dataset("columns/step", (2**40,), np.float64, chunks=(1024,))


def _deep(file, elsewhere):
    file["columns/a/b/c/d/e"] = [1.0]


@pytest.mark.parametrize("hostile", [_soft, _external, _external_data, _virtual, _huge, _deep])
def test_what_leads_out_of_the_file_or_out_of_memory_is_refused(tmp_path, hostile):
    elsewhere = tmp_path / "elsewhere.h5"
    with h5py.File(elsewhere, "w") as file:
        file["secret"] = np.zeros(4, dtype=np.uint8)
    with creating(tmp_path / "h.h5", HISTORY) as file:
        hostile(file, elsewhere)
    with pytest.raises(ArtefactError, match=r"h\.h5"), reading(tmp_path / "h.h5", HISTORY):
        pytest.fail("the file was opened")


def test_killed_at_20_moments_while_writing_the_file_is_the_old_or_the_new_one(tmp_path):
    path = tmp_path / "history.h5"
    draw = random.Random(1)
    for _ in range(20):
        child = os.fork()
        if child == 0:
            value = 0
            while True:
                value += 1
                save_history(path, {"step": [float(value)] * 2000})
        time.sleep(0.02 + 0.05 * draw.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if path.exists():
            assert len(set(load_history(path).columns["step"])) == 1
    assert path.exists()


def test_a_disk_that_is_full_is_an_error_and_not_the_end_of_the_process(tmp_path, monkeypatch):
    from prunelib.storage import hdf5

    write = hdf5._Forbearing.write

    def fail(self, data):
        if self.raw.tell() > 1000 and self.error is None:
            self.error = OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(hdf5._Forbearing, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        save_history(tmp_path / "history.h5", {"loss": np.arange(1000.0)})
    assert not list(tmp_path.iterdir())


def test_a_short_write_goes_on(tmp_path, monkeypatch):
    save_history(tmp_path / "a.h5", {"loss": np.arange(1000.0)})
    true = FileIO.write
    monkeypatch.setattr("prunelib.storage.hdf5.open", lambda *_, **__: Halting(*_), raising=False)

    class Halting(FileIO):
        def __init__(self, path, mode):
            super().__init__(path, mode.replace("b", ""))

        def write(self, data):
            return true(self, memoryview(data)[:100])

    monkeypatch.setattr("prunelib.storage.hdf5._seal", lambda stream: b"")
    save_history(tmp_path / "b.h5", {"loss": np.arange(1000.0)})
    assert (tmp_path / "a.h5").read_bytes()[512:] == (tmp_path / "b.h5").read_bytes()[512:]
