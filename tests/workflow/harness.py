"""The workflow's jobs without Snakemake: each in a process forked from this one, which has imported torch already.

``Tree`` holds one configuration in a directory; ``Tree.start`` starts a job as Snakemake would: inputs are there,
outputs of before are removed, the step's script runs with what the plan says.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from snakemake.iocontainers import Namedlist

from prunelib.runs import Run
from prunelib.workflow.batches import Deferred
from prunelib.workflow.digest import SCRIPTS
from prunelib.workflow.paths import statistics_path
from prunelib.workflow.plan import Plan
from prunelib.workflow.records import SUFFIX

ROOT = Path(__file__).parents[2]
FORK = multiprocessing.get_context("fork")
CONFIG = Path(__file__).with_name("faults.yaml")


@dataclass(frozen=True)
class Asked:
    """One job: its kind, and its run or data set."""

    kind: str
    run: str


class Tree:
    """A directory with the results of one configuration."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        """Plan the configuration of ``faults.yaml`` with some top-level keys replaced."""
        self.directory, self.config = directory, yaml.safe_load(CONFIG.read_text()) | changes
        self.plan = Plan(self.config)

    def prepare(self, asked: Asked) -> tuple[str, Any]:
        """Return a job's script and the object that Snakemake gives it."""
        script, log, *files = self._described(asked)
        given = dict(zip(("input", "output", "params"), files, strict=True))
        given |= {name: Namedlist(fromdict=given[name]) for name in ("input", "output")}
        shared = {"config": self.config, "threads": 1, "resources": {"mem_mb": 2000}}
        return script, SimpleNamespace(log=[f"results/logs/{log}.log"], **given, **shared)

    def _described(self, asked: Asked) -> tuple[str, str, dict[str, str], dict[str, str], dict[str, Any]]:
        """Return a job's script, log, inputs, outputs and params."""
        if asked.kind == "data":
            params = {name: make(SimpleNamespace(data=asked.run)) for name, make in self.plan.source_params().items()}
            return "prepare_data", f"data/{asked.run}", {}, {"data": f"results/data/{asked.run}.h5"}, params
        run = Run.parse(asked.run)
        if asked.kind == "statistics":
            wildcards = SimpleNamespace(task=run.task, model=run.model, seed=run.seed, batches=2)
            params = {name: make(wildcards) for name, make in self.plan.statistics_params().items()}
            output = {"statistics": statistics_path(run, 2)}
            return "gather_statistics", f"{run.path}/statistics2", self.plan.statistics(wildcards), output, params
        for job in self.plan.jobs(run.paper, asked.kind):
            for value, runs in job.members.items():
                if run in runs:
                    names = {"where" if job.batched else "run": value}
                    wildcards = SimpleNamespace(**names)
                    made = {str(index): path.format(**names) for index, path in enumerate(job.outputs)}
                    log = job.log.format(**names).removeprefix("results/logs/").removesuffix(".log")
                    params = {"digest": job.digest(wildcards), "work": unwrapped(job.work(wildcards))}
                    return job.kind.step, log, {}, made, params
        raise KeyError(asked)

    def outputs(self, asked: Asked) -> list[Path]:
        """The files a job declares."""
        _, given = self.prepare(asked)
        return [self.directory / path for path in given.output]

    def start(self, asked: Asked, before: Callable[[], None] = lambda: None, clean: bool = True) -> Any:
        """Start a job in a process of its own, as Snakemake does; ``before`` is called in that process.

        ``clean``: remove its outputs, which Snakemake does too.
        """
        for path in self.outputs(asked) if clean else []:
            path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
        script, given = self.prepare(asked)

        def work() -> None:
            os.chdir(self.directory)
            os.dup2(os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)  # not pytest's
            logging.getLogger().handlers.clear()  # pytest has its own, and the step would leave it at those
            before()
            runpy.run_path(str(SCRIPTS / f"{script}.py"), {"snakemake": given})

        process = FORK.Process(target=work)
        process.start()
        return process

    def do(self, asked: Asked, before: Callable[[], None] = lambda: None) -> int:
        """Do a job; return its exit status."""
        process = self.start(asked, before)
        process.join()
        return process.exitcode

    def said(self) -> str:
        """What the jobs told the user."""
        return (self.directory / "said").read_text()

    def contents(self, asked: Asked) -> dict[str, bytes]:
        """What a job's files say: every byte, but of metrics only what does not tell times, machines and attempts."""
        return {path.name: told(path) for path in self.outputs(asked)}

    def copy(self, directory: Path, without: Asked) -> Tree:
        """Return a tree with the same results except those of one job."""
        shutil.copytree(self.directory, directory)
        other = Tree(directory)
        for path in other.outputs(without):
            path.unlink()
        if "/" in without.run and without.kind != "statistics":
            shutil.rmtree(directory / "results" / "finished" / without.run / without.kind)
            (directory / "results" / "runs" / without.run / f"{without.kind}{SUFFIX}").unlink()
        (directory / "said").write_text("")
        return other


def told(path: Path) -> bytes:
    """Return the part of a file that does not change from one attempt to the next."""
    if path.suffix != ".json":
        return path.read_bytes()
    content = json.loads(path.read_text())
    for changing in ("timing", "provenance", "step_ms", "seconds", "speedup"):
        content.pop(changing, None)
    return json.dumps(content, sort_keys=True).encode()


def unwrapped(deferred: Deferred) -> dict[str, Any]:
    """Return what a script gets."""
    make, arguments = deferred.__reduce__()
    return make(*arguments)
