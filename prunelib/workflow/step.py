"""The frame of every step script: log file, threads, stub mode, one clear paragraph on a user's error."""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunelib.errors import PrunelibError
from prunelib.storage.lease import Lease

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
CHECKPOINTS = Path("results/checkpoints")


@dataclass(frozen=True)
class Step:
    """What a step script works with: named inputs and outputs, settings, where to checkpoint, which device."""

    inputs: dict[str, Path]
    lists: dict[str, list[Path]]
    outputs: dict[str, Path]
    params: dict[str, Any]
    config: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the run this step belongs to."""
        return self.params["settings"]

    @property
    def device(self) -> str:
        """The configured device: auto, cpu or cuda."""
        return self.config.get("device", "auto")

    @property
    def processes(self) -> int:
        """The configured number of processes of one training."""
        return int(self.config.get("processes", 1))

    @property
    def checkpoints(self) -> Path:
        """Where this run's unfinished work is kept: outside the outputs, which Snakemake deletes when a job fails."""
        run = self.settings["run"]
        return Path(CHECKPOINTS, *(str(run[key]) for key in run if key != "seed"), f"seed{run['seed']}")

    @property
    def checkpoint_seconds(self) -> float:
        """Seconds between checkpoints."""
        return float(self.config.get("checkpoint_seconds", 60.0))


def run(snakemake: Any, main: Callable[[Step], None], stub: bool = True) -> None:
    """Run a step script: ``main`` does the work; with ``mode: stub`` tiny valid outputs stand in for it.

    stub: False for a step that is cheap and needs no torch, so that stub mode exercises the real one.
    """
    log = Path(str(snakemake.log[0]))
    say = _redirect(log)
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(snakemake.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    params = dict(snakemake.params.items())
    step = Step(_files(snakemake.input), _lists(snakemake.input), _files(snakemake.output), params, snakemake.config)
    name = Path(log.with_suffix("").as_posix().partition("results/logs/")[2])  # storage puts its own folder before it
    try:
        with Lease(CHECKPOINTS / name.parent, name.name, say=say):
            if stub and snakemake.config.get("mode") == "stub":
                from prunelib.workflow.stub import write_stubs

                write_stubs(step)
            else:
                main(step)
    except Exception as error:
        traceback.print_exc()
        say(f"FAILED {name}\n{explain(error, snakemake.resources)}\nFull log: {log}")
        sys.exit(1)
    finally:
        remove_empty(CHECKPOINTS / name.parent, CHECKPOINTS)
    say(f"done   {name}")


def remove_empty(directory: Path, top: Path) -> None:
    """Remove a directory and those above it up to ``top``, as far as nothing is in them."""
    with suppress(OSError):
        while directory.is_relative_to(top):
            if directory.exists():
                directory.rmdir()
            directory = directory.parent


def explain(error: Exception, resources: Any) -> str:
    """Return one paragraph on why a step failed: a user's error in its own words, anything else by its type."""
    if isinstance(error, PrunelibError):
        return f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        return f"Out of memory: raise mem_mb above {resources.get('mem_mb')} for this rule."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"The disk is full ({error.filename or ''}). Nothing half-written is left; free space and run again."
    return f"Unexpected {type(error).__name__}: {error}"


def _redirect(log: Path) -> Callable[[str], None]:
    """Send all that this process and its libraries print to the log file; return a way to still speak to the user."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    terminal = os.dup(2)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    sys.stdout.reconfigure(line_buffering=True)

    def say(text: str) -> None:
        print(text)
        os.write(terminal, f"{text}\n".encode())

    return say


def _files(files: Any) -> dict[str, Path]:
    """Return a job's named single files."""
    return {name: Path(value) for name, value in files.items() if isinstance(value, str)}


def _lists(files: Any) -> dict[str, list[Path]]:
    """Return a job's named lists of files."""
    return {name: [Path(file) for file in value] for name, value in files.items() if not isinstance(value, str)}
