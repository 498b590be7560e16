"""Networks pickled by torch.save become weights of this project; a process apart reads them, running nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import safetensors
import safetensors.torch

import prunelib
from prunelib.errors import ArtefactError
from prunelib.storage.pickle_reader import EXPECTED
from prunelib.storage.weights import save_weights

SECONDS = 900  # of waiting for the process, which has a limit of its own on computing time
PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from prunelib.storage.pickle_reader import main; sys.exit(main(sys.argv[2]))"
)


def convert_pickle(source: str | Path, target: str | Path, key: str = "") -> int:
    """Write the tensors of a pickled network to a weights file (safetensors) and return how many there are.

    ``source``: a file of torch.save of any version: a state dict, a module, or a dict that holds one under ``key``
    (found when there is just one). Its classes are neither imported nor called (``prunelib.storage.pickle_reader``).
    Raises ArtefactError when it holds nothing of the kind; then nothing is written.
    """
    source, target = Path(source), Path(target)
    if not source.is_file():
        raise ArtefactError(f"{source}: no such file.")
    with tempfile.TemporaryFile() as tensors:
        _read_apart(source, tensors.fileno(), key)
        tensors.seek(0)
        try:
            state = safetensors.torch.load(tensors.read())
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise ArtefactError(f"{source}: no tensors could be taken out of it ({error}).") from None
    save_weights(target, state)
    return len(state)


def _read_apart(source: Path, output: int, key: str) -> None:
    """Run the reader in an isolated interpreter without this process's environment; raises ArtefactError."""
    command = [sys.executable, "-I", "-c", PROGRAM, str(Path(prunelib.__file__).parents[1]), key]
    environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with open(source, "rb") as stream:
        try:
            done = subprocess.run(
                command, stdin=stream, stdout=output, stderr=subprocess.PIPE, env=environment, timeout=SECONDS, cwd="/"
            )
        except subprocess.TimeoutExpired:
            raise ArtefactError(f"{source}: reading it took longer than {SECONDS} s; given up.") from None
    if done.returncode == EXPECTED:
        raise ArtefactError(f"{source}: {done.stderr.decode(errors='replace')}.")
    if done.returncode:
        raise ArtefactError(
            f"{source}: reading it was stopped (exit status {done.returncode}): it tried what tensors don't need, or "
            "more memory or time than its size explains. It may be hostile; nothing of it was run or kept."
        )
