"""Where the artefacts of runs lie below results/; paths are made here and nowhere else."""

from __future__ import annotations

from pathlib import Path

from prunelib.runs import Run

RUNS, LOGS = "results/runs", Path("results/logs")


class Place:
    """Where files lie for a job: where the workflow says, or below the folder of a storage that is copied there."""

    def __init__(self, log: Path) -> None:
        """Find the folder before results/ in the path of a log."""
        self.folder = Path(log.as_posix().partition(f"{LOGS.as_posix()}/")[0])

    def __call__(self, path: str | Path) -> Path:
        """Return the path of a file here; one that is not of the workflow's results is the user's, as it is."""
        return self.folder / path if Path(path).is_relative_to("results") else Path(path)

    def name(self, path: Path) -> str:
        """Return the path of a file as the workflow says it."""
        return (path.relative_to(self.folder) if path.is_relative_to(self.folder) else path).as_posix()


def path(run: Run, file: str) -> str:
    """Path of one artefact of a run."""
    return f"{RUNS}/{run.path}/{file}"


def statistics_path(run: Run, batches: int) -> str:
    """Path of the gradient statistics, over so many batches, of the dense network that a run starts from."""
    return f"results/statistics/{run.paper}/{run.task}/{run.model}/seed{run.seed}/batches{batches}.safetensors"


def data_path(label: str) -> str:
    """Path of a prepared data set."""
    return f"results/data/{label}.h5"
