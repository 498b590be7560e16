"""One SLURM for all tests of this room, and a copy of the pipeline that runs on it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.slurm import Slurm, why_not
from tests.workflow.conftest import Checkout, environment

HERE = Path(__file__).parent
LEASE = "with Lease(CHECKPOINTS / name.parent, name.name, say=say):"
WITNESS = LEASE.removesuffix(":") + ", witnessed(str(name)):"
# What a loaded machine of two cores needs; the profile's own values are for a cluster's network file systems.
QUICK = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "20")
QUICK_GENERIC = ("--seconds-between-status-checks", "2", "--latency-wait", "20")
COLUMNS = ("JobID", "Comment", "State", "ExitCode", "Elapsed", "Timelimit", "ReqMem", "Partition", "Account", "QOS")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip this room unless it is asked for: it brings up a whole SLURM."""
    if "cluster" in (config.getoption("-m") or ""):
        return
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.skip(reason="brings up a SLURM for minutes; make test-cluster runs it"))


@dataclass(frozen=True)
class Job:
    """What a job's lease protected, from its beginning to its end (None: it did not come to one)."""

    process: str
    slurm: str
    begin: float
    end: float | None


@dataclass
class Pipeline:
    """A copy of the repository whose jobs are witnessed, and the Snakemake that runs it on the cluster."""

    checkout: Checkout
    slurm: Slurm
    log: str = ""
    process: subprocess.Popen[bytes] | None = None
    started: int = field(default=0)

    @property
    def path(self) -> Path:
        """The copy."""
        return self.checkout.path

    def configure(self, raw: dict[str, Any], faults: dict[str, str] | None = None) -> None:
        """Replace the copy's configuration and say which jobs go wrong."""
        self.checkout.write(raw)
        (self.path / "faults.json").write_text(json.dumps(faults or {}))

    def locally(self, *arguments: str) -> dict[str, bytes]:
        """Tables of the same configuration without cluster and faults; the copy is as new afterwards."""
        faults = self.path / "faults.json"
        kept = faults.read_text() if faults.exists() else "{}"
        faults.write_text("{}")
        self.checkout.snakemake(*arguments)
        tables = self.checkout.results()
        for name in ("results", ".snakemake"):
            shutil.rmtree(self.path / name)
        (self.path / "witness.log").unlink()
        faults.write_text(kept)
        assert tables
        return tables

    def start(self, *arguments: str, profile: str = "slurm", **variables: str) -> None:
        """Start Snakemake with a profile as users give it, in a process group of its own."""
        self.started += 1
        self.log = f"snakemake-{self.started}.log"
        command = [sys.executable, "-m", "snakemake", "--workflow-profile", f"profiles/{profile}", *arguments]
        with open(self.path / self.log, "wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.path,
                env=environment() | self.slurm.environment | variables,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def said(self) -> str:
        """What Snakemake has printed so far."""
        return (self.path / self.log).read_text(errors="replace")

    def wait(self, seconds: float) -> int:
        """Wait for Snakemake's end; kill it and fail after so many seconds: a hang is what some faults once led to."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"Snakemake still ran after {seconds:.0f} s:\n{self.said()[-6000:]}") from None

    def finish(self, seconds: float) -> None:
        """Wait for Snakemake's good end."""
        assert self.wait(seconds) == 0, self.said()[-6000:]

    def release(self) -> None:
        """Let the jobs that wait go on."""
        (self.path / "released").touch()

    def kill(self) -> None:
        """SIGKILL Snakemake and what it runs here; its jobs on the cluster live on."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def jobs(self) -> dict[str, list[Job]]:
        """What worked on each job of the workflow, in order of their beginning."""
        found: dict[str, list[Job]] = defaultdict(list)
        notes = self.path / "witness.log"
        for line in notes.read_text().splitlines() if notes.exists() else []:
            what, name, process, slurm, moment = line.split()
            if what == "begin":
                found[name].append(Job(process, slurm, float(moment), None))
            else:
                index = [job.process for job in found[name]].index(process)
                found[name][index] = Job(process, slurm, found[name][index].begin, float(moment))
        return found

    def logs(self) -> dict[str, str]:
        """SLURM's log of every job that was submitted, by the job's number."""
        folder = self.path / "results" / "logs"
        files = [file for part in ("slurm", "cluster") for file in (folder / part).rglob("*.log")]
        return {re.findall(r"(\d+)\.log$", file.name)[0]: file.read_text(errors="replace") for file in files}


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A whole SLURM; prints the accounting's record of every job at the end."""
    if reason := why_not():
        pytest.skip(reason)
    cluster = Slurm()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an ended test takes its cluster down as well
    try:
        cluster.up()
        yield cluster
        print("\nsacct's record of the jobs:")
        rows = [{column: column for column in COLUMNS}, *cluster.sacct()]
        widths = {column: min(52, max(len(row[column]) for row in rows)) for column in COLUMNS}
        for row in rows:
            print("  ".join(row[column][:52].ljust(widths[column]) for column in COLUMNS).rstrip())
    finally:
        cluster.down()


@pytest.fixture
def pipeline(checkout: Checkout, slurm: Slurm) -> Iterator[Pipeline]:
    """A witnessed copy of the pipeline."""
    step = checkout.path / "prunelib" / "workflow" / "step.py"
    text = step.read_text()
    assert LEASE in text
    imported = "from prunelib.workflow.witness import witnessed\n"
    text = text.replace(LEASE, WITNESS).replace("\nTHREAD_VARIABLES", f"{imported}\nTHREAD_VARIABLES", 1)
    step.write_text(text)
    shutil.copy2(HERE / "witness.py", checkout.path / "prunelib" / "workflow" / "witness.py")
    found = Pipeline(checkout, slurm)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.kill()
    for job in slurm.says("squeue", "-h", "-o", "%A").split():
        slurm.ask("scancel", job)


@pytest.fixture
def small() -> dict[str, Any]:
    """The smallest configuration of the workflow's own tests."""
    return yaml.safe_load((HERE.parent / "workflow" / "smoke.yaml").read_text())


from tests.workflow.conftest import checkout as checkout  # noqa: E402 - a fixture of the other room
