"""The profiles: they plan what a local run plans, and hold what keeps their executors' faults away."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.conftest import ROOT, Checkout, environment

CLUSTER = ("slurm", "cluster-generic")
STUB = ("--config", "mode=stub")
SCRIPTS = ROOT / "profiles" / "cluster-generic"


def profile(name: str) -> dict[str, Any]:
    """The settings of one profile."""
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())


@pytest.fixture
def small(checkout: Checkout) -> Checkout:
    """The smallest grid, in stub mode."""
    shutil.copy2(Path(__file__).with_name("smoke.yaml"), checkout.path / "config.yaml")
    return checkout


@pytest.mark.parametrize("name", CLUSTER)
def test_a_profile_plans_the_jobs_of_a_local_run(small: Checkout, name: str) -> None:
    assert small.planned("--workflow-profile", f"profiles/{name}", *STUB) == small.planned(*STUB) != {}


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs"))),
    reason="needs snakemake-executor-plugin-kubernetes, snakemake-storage-plugin-s3 and snakemake-storage-plugin-fs",
)
def test_kubernetes_plans_the_jobs_of_a_local_run(small: Checkout, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder stands for the bucket; published and recorded numbers lie in it, as docs/cluster.md says."""
    bucket = tmp_path_factory.mktemp("bucket")
    shutil.copytree(ROOT / "prunelib" / "report" / "published", bucket / "prunelib" / "report" / "published")
    there = ("--default-storage-provider", "fs", "--default-storage-prefix", str(bucket))
    assert small.planned("--workflow-profile", "profiles/kubernetes", *there, *STUB) == small.planned(*STUB)


@pytest.mark.parametrize("name", ["slurm", "cluster-generic", "kubernetes"])
def test_a_profile_changes_no_result(name: str) -> None:
    assert not {"config", "configfile", "configfiles", "set-threads", "set-resources"} & set(profile(name))


@pytest.mark.parametrize("name", CLUSTER)
def test_every_rule_with_a_group_exists_and_trains_nothing(small: Checkout, name: str) -> None:
    rules = set(small.planned(*STUB))
    grouped = [entry.split("=") for entry in profile(name)["groups"]]
    assert {rule for rule, _ in grouped} <= rules
    assert not [rule for rule, _ in grouped if rule.endswith(("train", "search", "oes_mask", "compress"))]
    assert {group for _, group in grouped} == {entry.split("=")[0] for entry in profile(name)["group-components"]}


def test_slurm_profile_avoids_what_its_plugin_gets_wrong() -> None:
    """Each line is shown to work on a real SLURM by tests/cluster; here, that nobody takes it out."""
    settings = profile("slurm")
    assert settings["slurm-status-command"] == "squeue"  # sacct's "CANCELLED by 0" is never noticed
    asking = settings["slurm-status-attempts"] / settings["max-status-checks-per-second"]
    assert asking >= 24 * 3600  # seconds without an answer before the jobs are forgotten
    assert not [key for key in settings if "array" in key]
    assert settings["slurm-requeue"] is True  # or a preempted job is waited for for ever
    assert settings["retries"] >= 1
    assert settings["keep-incomplete"] is True  # or a failing job of a group, or an orphan, deletes good outputs


def test_no_rule_retries_by_itself() -> None:
    """It would repeat within the allocation that was too small."""
    assert not [
        file.name for file in (ROOT / "rules").glob("*.smk") if re.search(r"^\s+retries:", file.read_text(), re.M)
    ]


@pytest.mark.parametrize("name", CLUSTER)
def test_submissions_are_bounded(name: str) -> None:
    number, span = re.fullmatch(r"(\d+)/(\d+)m", profile(name)["max-jobs-per-timespan"]).groups()
    assert int(number) / int(span) <= 60
    assert profile(name)["jobs"] <= 100


ANSWERS = {
    "slurm": ("sbatch", "17;cluster"),
    "lsf": ("bsub", "Job <17> is submitted to queue <normal>."),
    "pbs": ("qsub", "17"),
    "sge": ("qsub", "17"),
}
ASKED = {
    "slurm": "--account=me --cpus-per-task=2 --gres=gpu:1 --mem=4000 --no-requeue --time=90 job.sh",
    "lsf": "-M 4000MB -W 90 -gpu num=1 -n 2 -rn --account=me job.sh",
    "pbs": "-l select=1:ncpus=2:mem=4000mb:ngpus=1 -l walltime=90:00 -r n --account=me job.sh",
    "sge": "-terse -pe smp 2 h_vmem=2000M h_rt=5400 -l gpu=1 -r n -cwd --account=me job.sh",
}


def stand_in(folder: Path, name: str, text: str) -> None:
    """A command that notes its arguments and does what a shell text says."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>"{folder}/asked"\n{text}\n')
    (folder / name).chmod(0o755)


def call(
    script: str, folder: Path, scheduler: str, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run one of the profile's scripts with stand-ins first on PATH."""
    variables |= {"PATH": f"{folder}/bin:{os.environ['PATH']}", "PRUNELIB_SCHEDULER": scheduler}
    command = [str(SCRIPTS / script), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | variables)


@pytest.mark.parametrize("scheduler", ANSWERS)
def test_a_job_is_submitted_with_its_resources_and_its_number_is_all_that_is_printed(
    tmp_path: Path, scheduler: str
) -> None:
    command, answer = ANSWERS[scheduler]
    stand_in(tmp_path / "bin", command, f'echo "{answer}"')
    job = ("oes_train", "2", "4000", "90", "1", "job.sh")
    done = call("submit.sh", tmp_path, scheduler, *job, PRUNELIB_SUBMIT="--account=me")
    assert (done.returncode, done.stdout.strip()) == (0, "17")
    asked = (tmp_path / "bin" / "asked").read_text()
    for word in ASKED[scheduler].split():
        assert word in asked, asked
    assert asked.rstrip().endswith("job.sh") and "prunelib-oes_train" in asked and "results/logs/cluster/" in asked


def test_without_a_gpu_none_is_asked_for(tmp_path: Path) -> None:
    for scheduler, (command, answer) in ANSWERS.items():
        stand_in(tmp_path / "bin", command, f'echo "{answer}"')
        call("submit.sh", tmp_path, scheduler, "slim", "1", "2000", "30", "0", "job.sh")
    assert "gpu" not in (tmp_path / "bin" / "asked").read_text()


def test_an_unknown_scheduler_is_named(tmp_path: Path) -> None:
    done = call("submit.sh", tmp_path, "moab", "slim", "1", "2000", "30", "0", "job.sh")
    assert done.returncode == 2 and "PRUNELIB_SCHEDULER=moab" in done.stderr


UNKNOWN = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
AWAY = "echo 'Unable to contact slurm controller' >&2; exit 1"
STATES = [
    ("slurm", {"squeue": "echo RUNNING"}, "running"),
    ("slurm", {"squeue": "echo COMPLETED"}, "success"),
    ("slurm", {"squeue": "echo CANCELLED"}, "failed"),
    ("slurm", {"squeue": UNKNOWN, "sacct": "echo 'CANCELLED by 0'"}, "failed"),
    ("slurm", {"squeue": UNKNOWN, "sacct": "echo COMPLETED"}, "success"),
    ("slurm", {"squeue": UNKNOWN, "sacct": "exit 1"}, "failed"),  # forgotten, no accounting: not waited for for ever
    ("slurm", {"squeue": AWAY, "sacct": "exit 1"}, "running"),  # an outage loses nothing
    ("lsf", {"bjobs": "echo PEND"}, "running"),
    ("lsf", {"bjobs": "echo DONE"}, "success"),
    ("lsf", {"bjobs": "echo EXIT"}, "failed"),
    ("lsf", {"bjobs": "echo 'Job <17> is not found' >&2; exit 255"}, "failed"),
    ("lsf", {"bjobs": "echo 'LSF is down. Please wait ...' >&2; exit 255"}, "running"),
    ("pbs", {"qstat": "printf 'Job Id: 17\\n    job_state = R\\n'"}, "running"),
    ("pbs", {"qstat": "printf '    job_state = F\\n    Exit_status = 0\\n'"}, "success"),
    ("pbs", {"qstat": "printf '    job_state = F\\n    Exit_status = 271\\n'"}, "failed"),
    ("pbs", {"qstat": "echo 'qstat: Unknown Job Id 17' >&2; exit 153"}, "failed"),
    ("pbs", {"qstat": "echo 'Connection refused' >&2; exit 255"}, "running"),
    ("sge", {"qstat": "exit 0"}, "running"),
    ("sge", {"qstat": "exit 1", "qacct": "printf 'failed       0\\nexit_status  0\\n'"}, "success"),
    ("sge", {"qstat": "exit 1", "qacct": "printf 'failed       0\\nexit_status  1\\n'"}, "failed"),
    (
        "sge",
        {"qstat": "exit 1", "qacct": "printf 'failed       37 : qmaster enforced h_rt\\nexit_status  137\\n'"},
        "failed",
    ),
    ("sge", {"qstat": "exit 1", "qacct": "exit 1"}, "running"),  # its account is not written yet
]


@pytest.mark.parametrize(("scheduler", "answers", "state"), STATES)
def test_status_is_one_of_three_words(tmp_path: Path, scheduler: str, answers: dict[str, str], state: str) -> None:
    for command, text in answers.items():
        stand_in(tmp_path / "bin", command, text)
    done = call("status.sh", tmp_path, scheduler, "17")
    assert (done.returncode, done.stdout) == (0, f"{state}\n")


@pytest.mark.parametrize(
    ("scheduler", "command"), [("slurm", "scancel"), ("lsf", "bkill"), ("pbs", "qdel"), ("sge", "qdel")]
)
def test_several_jobs_are_cancelled_at_once(tmp_path: Path, scheduler: str, command: str) -> None:
    stand_in(tmp_path / "bin", command, "")
    call("cancel.sh", tmp_path, scheduler, "17", "18")
    assert (tmp_path / "bin" / "asked").read_text() == "17 18\n"


CONDA = """case "$*" in
*"info --json"*) echo '{"conda_version": "24.11.0", "root_prefix": "/", "conda_prefix": "/", "platform": "linux-64"}' ;;
*--version*) echo "conda 24.11.0" ;;
*channel_priority*) echo '{"get": {"channel_priority": "strict"}}' ;;
esac"""
# Runs in place what would run in the image; the image's name must be there.
APPTAINER = f"""[ "$1" = --version ] && exec echo "apptainer version 1.3.4"
while [ "$1" != prunelib.sif ]; do [ $# -gt 1 ] || exit 9; shift; done; shift
PATH={Path(sys.executable).parent}:$PATH PYTHONPATH=$PWD exec "$@" """


def with_tool(checkout: Checkout, name: str, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake with a stand-in for a deployment tool on PATH."""
    stand_in(checkout.path / "bin", name, text)
    there = {"PATH": f"{checkout.path}/bin:{os.environ['PATH']}"}
    command = checkout.command(*arguments)
    return subprocess.run(command, cwd=checkout.path, capture_output=True, text=True, env=environment() | there)


def test_conda_environments_are_planned(small: Checkout) -> None:
    done = with_tool(small, "conda", CONDA, "-n", "--sdm", "conda", *STUB)
    assert done.returncode == 0, done.stderr
    assert "prepare_data" in done.stdout


def test_jobs_run_in_the_image_that_the_configuration_names(small: Checkout) -> None:
    (small.path / "prunelib.sif").touch()
    image = ("--sdm", "apptainer", *STUB, "container=prunelib.sif")
    assert with_tool(small, "apptainer", APPTAINER, "-n", *image).returncode == 0
    done = with_tool(small, "apptainer", APPTAINER, "results/data/photo.h5", *image)
    assert done.returncode == 0, done.stderr
    asked = (small.path / "bin" / "asked").read_text()
    assert re.search(r"exec .* prunelib\.sif .*prepare_data\.py", asked)
    assert (small.path / "results" / "data" / "photo.h5").exists()
