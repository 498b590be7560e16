"""The frame of every step script: log file, threads, stub mode, one clear paragraph on a user's error."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunelib.errors import PrunelibError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


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
    def checkpoints(self) -> Path:
        """Where this run's unfinished work is kept: outside the outputs, which Snakemake deletes when a job fails."""
        run = self.settings["run"]
        return Path("results/checkpoints", *(str(run[key]) for key in run if key != "seed"), f"seed{run['seed']}")

    @property
    def checkpoint_seconds(self) -> float:
        """Seconds between checkpoints."""
        return float(self.config.get("checkpoint_seconds", 60.0))


def run(snakemake: Any, main: Callable[[Step], None], stub: bool = True) -> None:
    """Run a step script: ``main`` does the work; with ``mode: stub`` tiny valid outputs stand in for it.

    stub: False for a step that is cheap and needs no torch, so that stub mode exercises the real one.
    """
    _redirect(Path(str(snakemake.log[0])))
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(snakemake.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    params = dict(snakemake.params.items())
    step = Step(_files(snakemake.input), _lists(snakemake.input), _files(snakemake.output), params, snakemake.config)
    try:
        if stub and snakemake.config.get("mode") == "stub":
            from prunelib.workflow.stub import write_stubs

            write_stubs(step)
        else:
            main(step)
    except PrunelibError as error:
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    except MemoryError:
        traceback.print_exc()
        print(f"\nOut of memory: raise mem_mb above {snakemake.resources.get('mem_mb')} for this rule.", file=sys.stderr)
        sys.exit(1)


def _redirect(log: Path) -> None:
    """Send everything this process and its libraries print to the rule's log file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    sys.stdout.reconfigure(line_buffering=True)


def _files(files: Any) -> dict[str, Path]:
    """Return a job's named single files."""
    return {name: Path(value) for name, value in files.items() if isinstance(value, str)}


def _lists(files: Any) -> dict[str, list[Path]]:
    """Return a job's named lists of files."""
    return {name: [Path(file) for file in value] for name, value in files.items() if not isinstance(value, str)}
