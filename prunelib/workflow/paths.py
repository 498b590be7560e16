"""Where the artefacts of runs lie below results/; paths are made here and nowhere else."""

from __future__ import annotations

from prunelib.runs import Run

RUNS = "results/runs"


def path(run: Run, file: str) -> str:
    """Path of one artefact of a run."""
    return f"{RUNS}/{run.path}/{file}"


def statistics_path(run: Run, batches: int) -> str:
    """Path of the gradient statistics, over so many batches, of the dense network that a run starts from."""
    return f"results/statistics/{run.paper}/{run.task}/{run.model}/seed{run.seed}/batches{batches}.safetensors"


def data_path(label: str) -> str:
    """Path of a prepared data set."""
    return f"results/data/{label}.h5"
