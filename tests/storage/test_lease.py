"""One writer per run: waiting, taking over, and a holder that has lost its lease."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from prunelib.errors import LeaseError
from prunelib.storage import lease as leases
from prunelib.storage.checkpoint import Checkpointer
from prunelib.storage.files import write_text
from prunelib.storage.lease import Lease, inherited

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(leases, "POLL", 0.01)


def hold(directory, held, leave, **options):
    with Lease(directory, "train", **options):
        held.set()
        leave.wait(30)


def start(directory, **options):
    held, leave = FORK.Event(), FORK.Event()
    process = FORK.Process(target=hold, args=(directory, held, leave), kwargs=options)
    process.start()
    assert held.wait(30)
    return process, leave


def test_leaves_nothing_behind(tmp_path):
    with Lease(tmp_path / "run", "train"):
        owner = json.loads((tmp_path / "run" / "train.lease-1").read_text())
        assert owner["pid"] == os.getpid()
    assert not (tmp_path / "run").exists()
    assert leases.VARIABLE not in os.environ


def test_two_steps_of_a_run_are_two_leases(tmp_path):
    with Lease(tmp_path, "mask"), Lease(tmp_path, "train") as second:
        assert not second.waited


def test_waits_for_a_live_holder_and_says_for_whom(tmp_path):
    process, leave = start(tmp_path)
    said = []
    threading.Timer(0.3, leave.set).start()
    begun = time.monotonic()
    with Lease(tmp_path, "train", say=said.append):
        assert time.monotonic() - begun >= 0.25
    assert f"process {process.pid} on " in said[0] and len(said) == 1
    process.join()


def test_a_killed_holder_is_followed_at_once(tmp_path):
    process, _ = start(tmp_path)
    process.kill()
    process.join()
    begun = time.monotonic()
    with Lease(tmp_path, "train"):
        assert time.monotonic() - begun < 1
        assert (tmp_path / "train.lease-2").exists()
    assert not tmp_path.exists()


def test_a_stopped_holder_on_this_machine_is_waited_for(tmp_path):
    """Its heartbeat has stopped with it, but it may go on: it is no less alive than a slow one."""
    process, leave = start(tmp_path, heartbeat=0.01)
    os.kill(process.pid, signal.SIGSTOP)
    threading.Timer(0.4, lambda: (os.kill(process.pid, signal.SIGCONT), leave.set())).start()
    begun = time.monotonic()
    with Lease(tmp_path, "train", expiry=0.1):
        assert time.monotonic() - begun >= 0.35
    process.join()


def test_a_process_number_used_again_is_not_the_holder(tmp_path):
    path = tmp_path / "train.lease-4"
    with Lease(tmp_path / "other", "train") as own:
        owner = json.loads(own._path(1).read_text())
    path.write_text(json.dumps(owner | {"started": "1"}))
    with Lease(tmp_path, "train") as taken:
        assert taken._number == 5


def elsewhere(path):
    """Sign a lease as a process of another machine."""
    owner = leases.Owner("other", "another boot", 1, "1", "yesterday", "77", "token")
    path.write_text(json.dumps(leases.asdict(owner)))


def test_a_holder_elsewhere_counts_as_gone_when_its_file_has_not_changed_for_so_long(tmp_path):
    path, said = tmp_path / "train.lease-1", []
    elsewhere(path)
    beating = threading.Event()

    def beat():  # the clock that stamps the file jumps back and forth, as after a clock was set
        for count in range(10):
            os.utime(path, (10**9 * (count % 2), 10**6 * count))
            time.sleep(0.05)
        beating.set()

    threading.Thread(target=beat).start()
    with Lease(tmp_path, "train", expiry=0.3, say=said.append) as taken:
        assert beating.is_set()
        assert taken._number == 2
    assert said == [f"{tmp_path}: train is process 1 on other, job 77, since yesterday's; waiting for it"]


def test_an_unsigned_lease_expires_too(tmp_path):
    (tmp_path / "train.lease-1").touch()
    with Lease(tmp_path, "train", expiry=0.1) as taken:
        assert taken._number == 2


def test_who_has_lost_the_lease_writes_nothing_more(tmp_path):
    lease = Lease(tmp_path, "train")
    with pytest.raises(LeaseError, match=r"no longer holds 'train'; process 1 on other"), lease:
        saver = Checkpointer(tmp_path, 0, "run")
        saver.save({"epoch": 1})
        saver.save({"epoch": 2})
        before = {file.name: file.read_bytes() for file in tmp_path.glob("*.ckpt")}
        elsewhere(tmp_path / "train.lease-2")
        for write in (
            lambda: write_text(tmp_path / "metrics.json", "{}"),
            lambda: saver.save({"epoch": 3}),
            saver.clear,
        ):
            with pytest.raises(LeaseError):
                write()
        assert not (tmp_path / "metrics.json").exists()
        assert {file.name: file.read_bytes() for file in tmp_path.glob("*.ckpt")} == before
        lease.check()
    assert (tmp_path / "train.lease-2").exists(), "another's lease is not given back"
    write_text(tmp_path / "metrics.json", "{}")


def test_processes_started_by_a_holder_write_under_its_lease(tmp_path):
    with Lease(tmp_path, "train"):
        with inherited():
            write_text(tmp_path / "a", "")
        elsewhere(tmp_path / "train.lease-2")
        with inherited(), pytest.raises(LeaseError):
            write_text(tmp_path / "b", "")
    with inherited():
        write_text(tmp_path / "c", "")


def test_a_directory_that_goes_while_it_is_being_made_is_made_again(tmp_path, monkeypatch):
    made = []

    def mkdir(path, *arguments, **options):
        made.append(path)
        if len(made) == 1:
            raise FileExistsError(path)  # another holder's; its last act is to remove it, empty
        os.mkdir(path)

    monkeypatch.setattr(leases, "POLL", 0.001)
    monkeypatch.setattr(Path, "mkdir", mkdir)
    with Lease(tmp_path / "run", "train"):
        assert len(made) == 2


def test_a_file_in_the_directorys_place_is_no_wait(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(NotADirectoryError), Lease(tmp_path / "run", "train"):
        pass


def contend(directory, rounds, seen):
    """Hold the lease some times; note in a file of two lines when one enters and leaves."""
    leases.POLL = 0.001
    for _ in range(rounds):
        with Lease(directory, "train", heartbeat=0.01):
            os.write(seen, b"(")
            time.sleep(0.001)
            os.write(seen, b")")


def test_contenders_and_killed_contenders_never_hold_it_together(tmp_path):
    """Six processes want it 20 times each, three more are killed meanwhile: entries and exits alternate."""
    seen = os.open(tmp_path / "seen", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    workers = [FORK.Process(target=contend, args=(tmp_path / "run", 20, seen)) for _ in range(6)]
    doomed = [FORK.Process(target=contend, args=(tmp_path / "run", 10_000, seen)) for _ in range(3)]
    for process in workers + doomed:
        process.start()
    for process in doomed:
        time.sleep(0.05)
        process.kill()
    for process in workers + doomed:
        process.join(60)
    assert [process.exitcode for process in workers] == [0] * 6
    marks = (tmp_path / "seen").read_text()
    assert ")" in marks and "))" not in marks
    assert marks.count("((") <= 3, "only one that was killed inside leaves no mark"
    assert marks.count("(") >= 120


def test_the_lease_costs_little_and_needs_no_torch(tmp_path):
    code = "import sys, prunelib.storage.lease; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
    with Lease(tmp_path, "train") as lease:
        begun = time.perf_counter()
        for _ in range(100):
            lease.check()
        assert time.perf_counter() - begun < 0.5
