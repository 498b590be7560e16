"""One pipeline per directory: a lock the kernel releases when its holder dies, however it dies.

Snakemake's own lock files outlive a killed process and must then be removed by hand. Here the main process also holds
an advisory lock on ``.snakemake/pipeline.lock``. Whoever gets it knows that no pipeline is alive, so Snakemake's files
are left over and are removed; whoever does not get it says who holds it and goes no further: a Snakemake that was told
to end has given its own lock files up while its last jobs still write.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import IO

from prunelib.errors import BusyError

_held: list[IO[str]] = []  # keeps the lock's file open, and so the lock held, until the process ends


def guard(directory: Path, keep: bool = True) -> bool:
    """Take the pipeline's lock and remove stale Snakemake locks; BusyError, naming its owner, if another one is alive.

    keep: hold the lock until this process ends. A dry run does not, and of a live pipeline it only hears (False).
    """
    if _held:
        return True
    path = directory / ".snakemake" / "pipeline.lock"
    path.parent.mkdir(exist_ok=True)
    stream = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - stays open on purpose
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        with stream:
            stream.seek(0)
            said = _explain(stream.read(), directory)
        if keep:
            raise BusyError(said) from None
        print(f"prunelib: {said}", file=sys.stderr)
        return False
    shutil.rmtree(directory / ".snakemake" / "locks", ignore_errors=True)
    if keep:
        stream.truncate(0)
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        stream.write(json.dumps(owner))
        stream.flush()
        _held.append(stream)
    else:
        stream.close()
    return True


def _explain(text: str, directory: Path) -> str:
    try:
        owner = json.loads(text)
        who = f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        who = "its owner has not signed yet"
    return f"A pipeline is already running in {directory} ({who}). Let it finish or stop it; do not unlock by hand."
