"""Several processes that train one network together: who this one is, what they share, how torchrun starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from prunelib import errors
from prunelib.errors import ConfigError, PrunelibError
from prunelib.storage.files import write_json
from prunelib.storage.provenance import cores

WATCH_SECONDS = 5.0


@dataclass(frozen=True)
class World:
    """This process's place among those that train one network; alone it is 0 of 1."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of ``values`` over all processes."""
        if self.size == 1:
            return values
        summed = values.to("cuda") if distributed.get_backend() == "nccl" else values.clone()
        distributed.all_reduce(summed)
        return summed.to(values.device)

    def shared(self, model: nn.Module) -> nn.Module:
        """Return the network whose backward pass averages gradients over all processes; the model itself, alone."""
        if self.size == 1:
            return model
        network = DistributedDataParallel(model)
        network.broadcast_buffers = False  # statistics are put together after the step (prunelib.training.running)
        return network

    def part(self, network: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Run one of several backward passes of a step in it: gradients are averaged in the last one only."""
        return nullcontext() if self.size == 1 or last else network.no_sync()


def current() -> World:
    """Return this process's place."""
    if not distributed.is_initialized():
        return World()
    return World(distributed.get_rank(), distributed.get_world_size())


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that torchrun has started; NCCL between GPUs, each process on one of its own, else Gloo.

    Raises ConfigError when a machine has fewer GPUs than processes.
    """
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        here, wanted = torch.cuda.device_count(), int(os.environ["LOCAL_WORLD_SIZE"])
        if here < wanted:
            raise ConfigError(f"processes: got {wanted}, but torch finds {here} GPU(s) here. Allowed: at most {here}.")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield current()
    finally:
        distributed.destroy_process_group()


def launch(job: Mapping[str, Any], processes: int) -> None:
    """Run ``prunelib.training.worker`` on ``job`` (plain types) in that many processes by torchrun, and wait for it.

    A user's error of any process is raised here in its own words; anything else as PrunelibError that points to the
    log. Threads (OMP_NUM_THREADS) are those of this process, divided. The processes end soon after this one is killed.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS", cores()))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "job.json")
        write_json(file, {**job, "launcher": os.getpid()})
        run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, threads // processes))}
        command = [*run, "-m", "prunelib.training.worker", str(file)]
        process = subprocess.Popen(command, env=environment)
        try:
            status = process.wait()
        finally:
            process.terminate()
            process.wait()
        if status:
            raise _failure(file.parent)


@contextmanager
def watched(launcher: int | None) -> Iterator[None]:
    """End this process when its launcher has gone: a killed job must leave nobody behind who still writes."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(WATCH_SECONDS):
            if not psutil.pid_exists(launcher):
                os._exit(1)

    if launcher is not None:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def note_failure(folder: Path, error: Exception) -> None:
    """Leave word of an error for ``launch``, the first one of a user's with its kind."""
    known = type(error).__name__ if isinstance(error, PrunelibError) else None
    write_json(folder / f"failure-{current().rank}-{time.time_ns()}.json", {"kind": known, "text": str(error)})


def _failure(folder: Path) -> PrunelibError:
    notes = [json.loads(path.read_text()) for path in sorted(folder.glob("failure-*.json"))]
    for note in notes:
        if note["kind"]:
            return getattr(errors, note["kind"])(note["text"])
    return PrunelibError("a training process failed; what it said stands above, in the same log.")
