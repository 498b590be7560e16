"""Feed a reader with hostile inputs in a child process: time, memory, writes and crashes are watched.

The contract: a reader returns a checked object or raises PrunelibError. Anything else is a finding: another exception,
more than SECONDS of CPU time, more than the target's memory (which comes out as MemoryError), the death of the process,
anything written outside its directory, a child process, a connection. An input is a pure function of (target, seed,
index), so that a finding can be made again.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil

from prunelib.errors import PrunelibError
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import Target

SECONDS = 5  # of CPU time for one input
PATIENCE = 120  # of wall-clock time without a sign of life
WRITES = {
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
    "os.chown",
}
STARTS = {"subprocess.Popen", "os.posix_spawn"}
NEVER = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "socket.bind"}


class Hang(BaseException):
    """A reader has taken longer than SECONDS; no handler of Exception stops it."""


@dataclass
class Result:
    """What came of a target: how many inputs, CPU seconds, the highest memory (MiB), findings by what they are."""

    inputs: int = 0
    read: int = 0
    cpu: float = 0.0
    peak: float = 0.0
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)


def hostile(target: Target, corpus: list[bytes], crafted: list[bytes], seed: int, index: int) -> bytes:
    """Return one input: first the crafted ones as they are, then changes of these and of whole files."""
    if index < len(crafted):
        return crafted[index]
    random = Random(f"{target.name}/{seed}/{index}")
    pool = crafted if crafted and random.random() < 0.2 else corpus
    return target.make(random, random.choice(pool), lambda content: mutate(random, content, corpus, target.tokens))


def fuzz(target: Target, count: int, seconds: float, seed: int = 0, keep: Path | None = None) -> Result:
    """Run ``count`` inputs, or as many as ``seconds`` of CPU time allow; findings' inputs are kept in ``keep``."""
    result = Result()
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        place = Path(name)
        corpus, crafted = target.seeds(place / "seeds"), target.crafted(place / "crafted")
        shared = mmap.mmap(-1, 16)
        while result.inputs < count and result.cpu < seconds:
            _fork(target, (corpus, crafted, seed), count, seconds - result.cpu, place, shared, result)
            shutil.rmtree(place / "work", ignore_errors=True)
        for finding in result.findings.values():
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                content = hostile(target, corpus, crafted, seed, finding["index"])
                (keep / f"{target.name}-{finding['index']}{target.suffix}").write_bytes(content)
    return result


def _fork(
    target: Target, inputs: tuple[Any, ...], count: int, seconds: float, place: Path, shared: mmap.mmap, result: Result
) -> None:
    """Run one child from where the last one stopped, and note how it ended."""
    notes = place / "notes.jsonl"
    notes.unlink(missing_ok=True)
    shared[:16] = result.inputs.to_bytes(8, "little") + result.read.to_bytes(8, "little")
    pid = os.fork()
    if pid == 0:
        try:
            _child(target, inputs, result.inputs, count, seconds, place, notes, shared)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status, usage, silent = _watched(pid, shared)
    done = int.from_bytes(shared[:8], "little")
    result.read = int.from_bytes(shared[8:16], "little")
    result.cpu += usage.ru_utime + usage.ru_stime
    result.peak = max(result.peak, usage.ru_maxrss / 1024)
    for line in notes.read_text().splitlines() if notes.exists() else []:
        found = json.loads(line)
        result.findings.setdefault(found["what"], found)
    if status:
        what = "no sign of life, and no signal stops it" if silent else f"process ended: {signal_name(status)}"
        result.findings.setdefault(what, {"what": what, "index": done, "detail": ""})
        done += 1
    result.inputs = done


def signal_name(status: int) -> str:
    """Return how a child ended."""
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"


def _watched(pid: int, shared: mmap.mmap) -> tuple[int, Any, bool]:
    """Wait for a child's end; end it when an input has taken too long and no signal could stop it."""
    last, since, silent = b"", (0.0, 0.0), False
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return status, usage, silent
        used = psutil.Process(pid).cpu_times()
        now = time.monotonic(), used.user + used.system
        if shared[:8] != last:
            last, since = shared[:8], now
        elif now[0] - since[0] > PATIENCE or now[1] - since[1] > 2 * SECONDS:  # on a busy machine time says little
            silent = True
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _child(
    target: Target,
    inputs: tuple[Any, ...],
    first: int,
    count: int,
    seconds: float,
    place: Path,
    notes: Path,
    shared: mmap.mmap,
) -> None:
    work = place / "work"
    work.mkdir()
    file = work / f"input{target.suffix}"
    target.prepare(work)
    corpus, crafted, seed = inputs
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries warn about every second input
    os.environ["TMPDIR"] = tempfile.tempdir = str(work)
    outside: list[str] = []
    handle = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + target.memory, resource.RLIM_INFINITY))
    signal.signal(signal.SIGPROF, _stop)
    faulthandler.disable()  # a crash is noted by the parent; its traceback would only fill the log
    sys.addaudithook(_hook(str(place), outside, NEVER - STARTS if target.starts else NEVER))
    end = time.process_time() + seconds
    read = int.from_bytes(shared[8:16], "little")
    for index in range(first, count):
        if time.process_time() > end:
            return
        shared[:8] = index.to_bytes(8, "little")
        content = hostile(target, corpus, crafted, seed, index)
        file.write_bytes(content)
        what, detail = _outcome(target, file)
        if outside:
            what, detail = f"touched the outside: {outside[0]}", ""
            outside.clear()
        read += what is None
        if what:
            os.write(handle, (json.dumps({"what": what, "index": index, "detail": detail}) + "\n").encode())
        shared[:16] = (index + 1).to_bytes(8, "little") + read.to_bytes(8, "little")


def _outcome(target: Target, file: Path) -> tuple[str | None, str]:
    """Return None for a checked object, "" for a proper refusal, or else what was found and where."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        target.read(file)
        return None, ""
    except PrunelibError as error:
        text = str(error)
        return ("an error of over 20 000 characters", text[:200]) if len(text) > 20_000 else ("", "")
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/prunelib/" in frame.filename] or frames[-1:]
        where = f"{Path(own[-1].filename).name}:{own[-1].name}"
        last = frames[-1]
        return f"{type(error).__name__} in {where}", f"{str(error)[:200]} ({last.filename}:{last.lineno})"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _stop(*_: Any) -> None:
    raise Hang


def _hook(place: str, outside: list[str], never: set[str]) -> Any:
    def watch(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = given
            if not isinstance(path, str) or not (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
            bad = not path.startswith((place, "/dev/null"))
        else:
            path = given[0] if given else ""
            bad = event in never or (event in WRITES and not str(path).startswith(place))
        bad = bad and "__pycache__" not in str(path)  # what an import leaves
        if bad:
            outside.append(f"{event} {path!s:.100}")

    return watch
