"""The pipeline on a real SLURM: whatever goes wrong, nothing is lost and the tables are those of a local run."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from prunelib.config import PARTS
from tests.cluster.conftest import QUICK, QUICK_GENERIC, Job, Pipeline
from tests.cluster.slurm import Slurm, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]

STUB = ("--config", "mode=stub")
TABLES = ("results/tables/expanders.csv", "results/tables/ising.csv")


def grouped(pipeline: Pipeline, *arguments: str) -> tuple[str, ...]:
    """Options that put every part of the grid into one job of the cluster."""
    rules = [rule for rule in pipeline.checkout.planned(*arguments) if rule != "all"]
    parts = {rule: rule.split("_")[0] if rule.startswith(PARTS) else "report" for rule in rules}
    parts["prepare_data"] = "data"
    groups = [f"{rule}={part}" for rule, part in parts.items()]
    components = sorted({f"{part}=100" for part in parts.values()})
    return ("--groups", *groups, "--group-components", *components, "--cores", "4")


def dense(small: dict[str, Any], seeds: int) -> dict[str, Any]:
    """So many runs of one part, and one of another."""
    block = {"tasks": ["classify"], "models": ["vgg"], "methods": ["dense"], "recipe": "train"}
    blocks = {"expanders": [block | {"seeds": list(range(seeds))}], "ising": [block | {"models": ["resnet"]}]}
    return small | {"grid": blocks}


def training(seed: int) -> str:
    """The name of one of these runs' training."""
    return f"expanders/classify/vgg/dense/full/seed{seed}/train"


OES, EXPANDERS = "oes/denoise/hourglass/dense/full", "expanders/classify/vgg/expander/degree3"
OTHER = "ising/classify/resnet/dense/full/seed0/train"


def records(slurm: Slurm, since: int) -> list[dict[str, str]]:
    """What the accounting knows of the jobs after the first so many."""
    return slurm.sacct()[since:]


def one_writer(works: list[Job]) -> None:
    """Whoever worked on a job began when the one before had ended, or its process was gone."""
    for before, after in itertools.pairwise(works):
        assert before.end is None or before.end <= after.begin
        assert before.end is not None or not Path("/proc", before.process).exists()


def test_whole_quick_grid(pipeline: Pipeline, slurm: Slurm) -> None:
    """With the profile that does not start a Snakemake for every job within a job, as the plugin does."""
    pipeline.checkout.take_one_seed()
    expected = pipeline.locally(*STUB)
    before = len(slurm.sacct())
    command = (*STUB, *QUICK_GENERIC, *grouped(pipeline, *STUB))
    pipeline.start(*command, profile="cluster-generic", PRUNELIB_SUBMIT="--account=second --partition=second")
    pipeline.finish(1200)
    assert pipeline.checkout.results() == expected
    assert len(expected) >= 9
    jobs = records(slurm, before)
    assert {(job["Account"], job["Partition"], job["State"]) for job in jobs} == {("second", "second", "COMPLETED")}
    assert set(pipeline.logs()) == {job["JobID"] for job in jobs}  # one log for each
    assert all(len(works) == 1 for works in pipeline.jobs().values())


def test_jobs_that_fail_or_take_too_long_or_too_much_or_are_cancelled(
    pipeline: Pipeline, slurm: Slurm, small: dict[str, Any]
) -> None:
    faults = {training(0): "fail", training(1): "exceed", training(2): "hang", OTHER: "hang"}
    pipeline.configure(dense(small, 4), faults)
    expected = pipeline.locally(*TABLES, *STUB)
    before = len(slurm.sacct())
    where = ("--default-resources", "slurm_account=second", "slurm_partition=second", "--slurm-qos", "soon")
    pipeline.start(*TABLES, *STUB, *QUICK, *where, "--set-resources", "ising_train:runtime=attempt")
    cancelled = pipeline.path / f"struck-{training(2).replace('/', '-')}"
    until("the job that is going to be cancelled", 150, cancelled.exists)
    slurm.ask("scancel", pipeline.jobs()[training(2)][0].slurm)
    pipeline.finish(420)
    assert pipeline.checkout.results() == expected
    jobs = {job["JobID"]: job for job in records(slurm, before)}
    works = pipeline.jobs()
    assert {(job["Account"], job["Partition"], job["QOS"]) for job in jobs.values()} == {("second", "second", "soon")}
    assert set(pipeline.logs()) == set(jobs)  # one log for each, kept

    def tries(name: str) -> list[dict[str, str]]:
        return [jobs[work.slurm] for work in works[name]]

    timed = [job for job in jobs.values() if job["Comment"].startswith("rule_ising_train")]
    for (first, *_, last), state in (
        (tries(training(0)), "FAILED"),
        (tries(training(1)), ("FAILED", "OUT_OF_MEMORY")),
        (tries(training(2)), "CANCELLED"),
        (timed, "TIMEOUT"),
    ):
        assert first["State"].startswith(state) and last["State"] == "COMPLETED"
        assert first["JobID"] != last["JobID"]  # another allocation, not another try within the first
        assert (first["ReqMem"], last["ReqMem"]) in (("2000M", "4000M"), ("2000M", "6000M"))
        assert first["Timelimit"] < last["Timelimit"]
    assert "exceeded memory limit" in pipeline.logs()[works[training(1)][0].slurm]
    assert len(works[training(3)]) == 1  # what went well was not done again
    assert not any("_" in number for number in jobs)  # no array


def test_controller_and_accounting_away_and_then_the_node(
    pipeline: Pipeline, slurm: Slurm, small: dict[str, Any]
) -> None:
    pipeline.configure(dense(small, 2), {training(0): "wait", training(1): "wait"})
    expected = pipeline.locally(*TABLES, *STUB)
    before = len(slurm.sacct())
    pipeline.start(*TABLES, *STUB, *QUICK)
    until("both trainings", 200, lambda: {training(0), training(1)} <= set(pipeline.jobs()))
    slurm.stop("slurmctld")
    slurm.stop("slurmdbd")
    time.sleep(15)  # every query fails; by default the plugin forgets its jobs after half a second of it
    slurm.start("slurmdbd", "-D")
    slurm.start("slurmctld", "-D")
    until("slurmctld", 60, lambda: slurm.ask("scontrol", "ping").returncode == 0)
    slurm.wait_for_node()
    # A job that ends in the moment in which its node goes is held by this version of SLURM.
    until("the end of the other job", 90, lambda: len(slurm.says("squeue", "-h", "-t", "RUNNING").splitlines()) == 2)
    slurm.ask("scontrol", "update", "NodeName=node", "State=DOWN", "Reason=test")
    slurm.wait_for_node()  # back by itself: its daemon answers
    pipeline.release()
    pipeline.finish(400)
    assert pipeline.checkout.results() == expected
    assert {job["State"] for job in records(slurm, before)} == {"COMPLETED"}
    for works in pipeline.jobs().values():
        one_writer(works)


def test_snakemake_killed_and_started_again_while_its_jobs_live_on(
    pipeline: Pipeline, slurm: Slurm, small: dict[str, Any]
) -> None:
    """Real algorithms. The second Snakemake submits what the first one's orphans still work on, and those wait."""
    fit = {"tasks": ["denoise"], "models": ["hourglass"], "recipe": "fit"}
    train = {"tasks": ["classify"], "models": ["vgg"], "recipe": "train"}
    graphs = {"methods": ["expander"], "budgets": ["degree3"]}
    grid = {"oes": [fit | {"methods": ["dense"]}], "expanders": [train | graphs]}
    orphans = [f"{path}/seed0/train" for path in (OES, EXPANDERS)]
    pipeline.configure(small | {"grid": grid}, dict.fromkeys(orphans, "wait"))
    tables = ("results/tables/oes.csv", "results/tables/expanders.csv")
    expected = pipeline.locally(*tables)
    command = (*tables, *QUICK, *grouped(pipeline, *tables))
    pipeline.start(*command)
    until("both trainings", 300, lambda: set(orphans) <= set(pipeline.jobs()))
    pipeline.kill()
    pipeline.start(*command)  # the same command, no unlocking
    until("their successors", 300, lambda: sum("waiting for it" in text for text in pipeline.logs().values()) == 2)
    pipeline.release()
    pipeline.finish(400)
    assert pipeline.checkout.results() == expected
    works, logs = pipeline.jobs(), pipeline.logs()
    for name in works:
        one_writer(works[name])
    for name in orphans:
        first, second = works[name][0], works[name][-1]
        assert first.slurm != second.slurm
        assert f"process {first.process} on" in logs[second.slurm] and "waiting for it" in logs[second.slurm]


def test_cluster_generic_profile(pipeline: Pipeline, slurm: Slurm, small: dict[str, Any]) -> None:
    pipeline.configure(dense(small, 2), {training(0): "fail", training(1): "hang"})
    expected = pipeline.locally(TABLES[0], *STUB)
    before = len(slurm.sacct())
    where = "--account=second --partition=second"
    pipeline.start(TABLES[0], *STUB, *QUICK_GENERIC, profile="cluster-generic", PRUNELIB_SUBMIT=where)
    hanging = pipeline.path / f"struck-{training(1).replace('/', '-')}"
    until("the job that is going to be cancelled", 200, hanging.exists)
    slurm.ask("scancel", pipeline.jobs()[training(1)][0].slurm)
    pipeline.finish(300)
    assert pipeline.checkout.results() == expected
    jobs = records(slurm, before)
    assert {(job["Account"], job["Partition"]) for job in jobs} == {("second", "second")}
    by_id = {job["JobID"]: job for job in jobs}
    for seed, state in ((0, "FAILED"), (1, "CANCELLED")):
        first, second = (by_id[work.slurm] for work in pipeline.jobs()[training(seed)])
        assert first["State"].startswith(state) and second["State"] == "COMPLETED"
        assert (first["ReqMem"], second["ReqMem"]) == ("2000M", "4000M")
    assert set(pipeline.logs()) == set(by_id)
