"""A lease: the right to be the one process that writes a run's files, on any machine that sees the directory.

The lease is a file ``<name>.lease-<number>``, created exclusively; the highest number holds. Whoever takes over from a
dead holder creates the next number, which only one of several can. A holder's thread touches its file (the descriptor,
so never another's) every few seconds. Who waits judges a holder on the same machine by its process, and any other by
how long its file has not changed, measured by the waiter's own clock that no clock setting moves.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import psutil

from prunelib.errors import LeaseError
from prunelib.storage.files import checked_by

HEARTBEAT, EXPIRY, POLL = 5.0, 60.0, 0.5  # seconds
VARIABLE = "PRUNELIB_LEASE"  # tells processes that a holder starts which lease they write under
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """Who holds a lease: a process by its number, start and machine (boot and process namespace), and a token."""

    host: str
    machine: str
    pid: int
    started: str
    since: str
    job: str
    token: str

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}, since {self.since}"

    def gone(self) -> bool | None:
        """Whether the process has ended; None when it can't be seen from here."""
        return _started(self.pid) != self.started if self.machine == _machine() else None


class Lease:
    """A context in which this process holds a lease, and in which every atomic write first makes sure that it does."""

    def __init__(
        self,
        directory: str | Path,
        name: str,
        *,
        heartbeat: float = HEARTBEAT,
        expiry: float = EXPIRY,
        say: Callable[[str], None] = log.info,
    ) -> None:
        """Name a lease in ``directory``; seconds between heartbeats, and without one until a holder counts as gone.

        ``say`` hears once whom this process waits for.
        """
        self.directory, self.name, self.heartbeat, self.expiry = Path(directory), name, heartbeat, expiry
        self.token, self.say = uuid.uuid4().hex, say
        self.waited = False
        self._number, self._file, self._stop = 0, -1, threading.Event()
        self._seen: tuple[tuple[int, int], float] = ((0, 0), 0.0)

    def __enter__(self) -> Lease:
        """Wait until no live process holds the lease, and take it."""
        while not self._take():
            time.sleep(POLL)
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        self._checking = checked_by(self.check)
        self._checking.__enter__()
        self._outer = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = json.dumps([str(self.directory.absolute()), self.name, self._number])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lease back, unless it has been taken over; the directory goes when nothing else is in it."""
        self._stop.set()
        self._thread.join()  # it must not touch what has the descriptor's number next
        self._checking.__exit__(None, None, None)
        os.environ.pop(VARIABLE) if self._outer is None else os.environ.update({VARIABLE: self._outer})
        if self._newest() == self._number:
            for number in sorted(_numbers(self.directory, self.name)):  # one's own last
                self._path(number).unlink(missing_ok=True)
        os.close(self._file)
        with suppress(OSError):
            self.directory.rmdir()

    def check(self) -> None:
        """Raise LeaseError when another process has taken the lease over."""
        check(self.directory, self.name, self._number)

    def _take(self) -> bool:
        """Take the lease if nobody holds it or its holder is gone."""
        number = self._newest()
        if number and not self._gone(number):
            return False
        if not self._create(number + 1):
            return False
        if number and not self._path(number).exists():  # another one took over and has ended already: begin anew
            self._path(number + 1).unlink()
            os.close(self._file)
            return False
        self._number = number + 1
        return True

    def _create(self, number: int) -> bool:
        with suppress(FileExistsError):  # there; or there when it was to be made, and removed since
            self.directory.mkdir(parents=True)
        try:
            self._file = os.open(self._path(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except (FileExistsError, FileNotFoundError):  # another one was first; or removed the empty directory
            return False
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        job, pid = os.environ.get("SLURM_JOB_ID", ""), os.getpid()
        owner = Owner(socket.gethostname(), _machine(), pid, _started(pid), since, job, self.token)
        os.write(self._file, json.dumps(asdict(owner)).encode())
        return True

    def _gone(self, number: int) -> bool:
        """Whether a lease's holder has ended, as far as can be told by now."""
        owner = _owner(self._path(number))
        gone = owner.gone() if owner else None
        if gone:
            return True
        if not self.waited:
            self.waited = True
            self.say(f"{self.directory}: {self.name} is {owner or 'another process'}'s; waiting for it")
        if gone is not None:
            return False
        with suppress(OSError), open(self._path(number), "rb") as stream:  # opened: what a network file system has
            now = (number, os.fstat(stream.fileno()).st_mtime_ns)
            if now != self._seen[0]:
                self._seen = (now, time.monotonic())
            return time.monotonic() - self._seen[1] > self.expiry
        return False

    def _beat(self) -> None:
        while not self._stop.wait(self.heartbeat):
            with suppress(OSError):
                os.utime(self._file)

    def _newest(self) -> int:
        return max(_numbers(self.directory, self.name), default=0)

    def _path(self, number: int) -> Path:
        return _path(self.directory, self.name, number)


def check(directory: Path, name: str, number: int) -> None:
    """Raise LeaseError unless ``number`` is the newest of a lease."""
    newest = max(_numbers(directory, name), default=0)
    if newest != number:
        owner = _owner(_path(directory, name, newest))
        raise LeaseError(
            f"{directory}: this process ({os.getpid()}) no longer holds '{name}'; {owner or 'nobody'} does. It seemed "
            "to have ended; it stops here and writes nothing more. What it has saved is being used."
        )


@contextmanager
def inherited() -> Iterator[None]:
    """In the block, atomic writes make sure that the process which started this one still holds its lease, if any."""
    if (text := os.environ.get(VARIABLE)) is None:
        yield
        return
    directory, name, number = json.loads(text)
    with checked_by(lambda: check(Path(directory), name, number)):
        yield


def _path(directory: Path, name: str, number: int) -> Path:
    return directory / f"{name}.lease-{number}"


def _numbers(directory: Path, name: str) -> list[int]:
    with suppress(FileNotFoundError):
        files = (file.rpartition(".lease-") for file in os.listdir(directory))
        return [int(number) for found, _, number in files if found == name and number.isdecimal()]
    return []


def _owner(path: Path) -> Owner | None:
    """Return whose a lease is; None while it is being signed, or when it is gone."""
    try:
        return Owner(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _started(pid: int) -> str:
    """Return when a process started, in words that two processes of one number never share; empty when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
    try:
        return str(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return ""


def _machine() -> str:
    """Name this boot of this machine and the namespace in which process numbers count."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def holders(directory: Path) -> list[Owner]:
    """Return who holds the leases of a directory; processes that are seen to have ended are left out."""
    names = {file.name.rpartition(".lease-")[0] for file in directory.glob("*.lease-*")}
    newest = (_path(directory, name, max(_numbers(directory, name), default=0)) for name in sorted(names))
    return [owner for path in newest if (owner := _owner(path)) and owner.gone() is not True]
