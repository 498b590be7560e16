"""Checkpoints: what is read back is what was written; damaged, foreign and hostile files are never used."""

import hashlib
import multiprocessing
import os
import pickle
import time

import pytest
import torch

from prunelib.storage.checkpoint import FORMAT, Checkpointer
from prunelib.storage.identity import identity

STATE = {"weights": torch.arange(6.0).reshape(2, 3), "epoch": 3, "columns": {"loss": [1.0, 0.5]}, "best": None}


def _checkpointer(tmp_path, identity="run", seconds=0.0):
    return Checkpointer(tmp_path / "run", seconds, identity)


def test_round_trip(tmp_path):
    assert _checkpointer(tmp_path).load() is None
    _checkpointer(tmp_path).save(STATE)
    found = _checkpointer(tmp_path).load()
    assert torch.equal(found.pop("weights"), STATE["weights"])
    assert found == {key: value for key, value in STATE.items() if key != "weights"}


def test_the_newest_state_counts(tmp_path):
    checkpointer = _checkpointer(tmp_path)
    for epoch in range(4):
        checkpointer.save({"epoch": epoch})
    assert checkpointer.load() == {"epoch": 3}
    assert len(list(checkpointer.directory.iterdir())) == 2


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_torn_file_falls_back_to_the_one_before(tmp_path, part):
    checkpointer = _checkpointer(tmp_path)
    checkpointer.save({"epoch": 1})
    checkpointer.save({"epoch": 2})
    content = checkpointer.current.read_bytes()
    checkpointer.current.write_bytes(content[: int(part * len(content))])
    assert checkpointer.load() == {"epoch": 1}
    checkpointer.previous.write_bytes(b"")
    assert checkpointer.load() is None


def test_every_flipped_bit_is_noticed(tmp_path):
    checkpointer = _checkpointer(tmp_path)
    checkpointer.save({"weights": torch.zeros(4)})
    content = checkpointer.current.read_bytes()
    for position in torch.randint(8 * len(content), (200,), generator=torch.Generator().manual_seed(0)).tolist():
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        checkpointer.current.write_bytes(damaged)
        assert checkpointer.load() is None


def test_another_runs_file_is_left_out(tmp_path, caplog):
    _checkpointer(tmp_path, "other").save({"epoch": 1})
    assert _checkpointer(tmp_path).load() is None
    assert "other settings or inputs" in caplog.text


def test_a_hostile_pickle_is_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    checkpointer = _checkpointer(tmp_path)
    checkpointer.directory.mkdir()
    payload = pickle.dumps(Payload(), protocol=2)
    checkpointer.current.write_bytes(FORMAT + hashlib.sha256(payload).digest() + payload)
    assert checkpointer.load() is None
    assert not (tmp_path / "ran").exists()


def test_due_after_its_seconds_and_not_before(tmp_path):
    assert not _checkpointer(tmp_path, seconds=1000).due()
    checkpointer = _checkpointer(tmp_path, seconds=0.05)
    time.sleep(0.06)
    assert checkpointer.due()
    checkpointer.save({})
    assert not checkpointer.due()


def test_time_adds_up_over_attempts(tmp_path):
    first = _checkpointer(tmp_path)
    time.sleep(0.05)
    first.save({})
    second = _checkpointer(tmp_path)
    second.load()
    wall, cpu = second.spent()
    assert wall >= 0.05 and cpu > 0


def test_clear_removes_everything_even_nothing(tmp_path):
    checkpointer = _checkpointer(tmp_path)
    checkpointer.clear()
    checkpointer.save({})
    checkpointer.clear()
    assert not checkpointer.directory.exists()


def _save_for_ever(directory, ready):
    checkpointer = Checkpointer(directory, 0, "run")
    state = checkpointer.load() or {"epoch": 0}
    ready.set()
    while True:
        epoch = state["epoch"] + 1
        state = {"epoch": epoch, "weights": torch.full((200_000,), float(epoch))}
        checkpointer.save(state)


def test_twenty_kills_while_saving_leave_a_whole_state(tmp_path):
    """Whatever moment a kill comes at, the state that can be read is whole and never older than the one before it."""
    forked = multiprocessing.get_context("fork")
    checkpointer, reached = _checkpointer(tmp_path), 0
    for attempt in range(20):
        ready = forked.Event()
        child = forked.Process(target=_save_for_ever, args=(checkpointer.directory, ready))
        child.start()
        ready.wait(60)
        time.sleep(0.004 * attempt)
        child.kill()
        child.join()
        state = checkpointer.load() or {"epoch": 0, "weights": torch.zeros(1)}
        assert state["epoch"] >= reached
        assert (state["weights"] == state["epoch"]).all()
        reached = state["epoch"]
    assert reached > 0


def test_identity_is_that_of_settings_and_inputs(tmp_path):
    files = {"data": tmp_path / "data.h5", "mask": tmp_path / "mask.h5"}
    for path in files.values():
        path.write_bytes(b"1")
    first = identity({"seed": 0}, files)
    assert first == identity({"seed": 0}, files)
    assert first != identity({"seed": 1}, files)
    files["mask"].write_bytes(b"2")
    assert first != identity({"seed": 0}, files)
