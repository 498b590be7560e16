"""The Makefile: what its targets run, and that `make clean` asks first and spares what is committed."""

import os
import pty
import subprocess
from pathlib import Path

import pytest
import yaml

TOP = Path(__file__).resolve().parents[2]
PROTECTED = ["results/README.md", "results/reference/table.csv"]
DELETED = [
    "results/runs/a/metrics.json",
    "results/checkpoints/a.pt",
    ".snakemake/log/x.log",
    "prunelib/__pycache__/a.pyc",
]
KEPT = ["data/cifar.h5", ".venv/lib/__pycache__/b.pyc", "prunelib/a.py"]


def commands(*arguments):
    """Return what make would run."""
    return subprocess.run(
        ["make", "-n", "--no-print-directory", *arguments], cwd=TOP, text=True, capture_output=True, check=True
    ).stdout.splitlines()


@pytest.fixture
def tree(tmp_path):
    """A folder with the Makefile, results and caches."""
    for name in PROTECTED + DELETED + KEPT:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "Makefile").write_text((TOP / "Makefile").read_text())
    return tmp_path


def left(tree):
    return [name for name in PROTECTED + DELETED + KEPT if (tree / name).exists()]


def clean(tree, *arguments, stdin=subprocess.DEVNULL):
    return subprocess.run(["make", "clean", *arguments], cwd=tree, stdin=stdin, text=True, capture_output=True)


def test_default_goal_runs_the_workflow_on_all_cores_and_names_the_page():
    assert commands()[-2] == '".venv/bin/snakemake" --cores all '
    assert "results/report/index.html" in commands()[-1]
    assert commands("CORES=3", "ARGS=oes -n")[-2] == '".venv/bin/snakemake" --cores 3 oes -n'


def test_a_profile_brings_its_own_cores():
    assert commands("ARGS=--profile profiles/slurm")[-2] == '".venv/bin/snakemake"  --profile profiles/slurm'


def test_a_python_that_was_named_is_not_replaced():
    assert "--search" in " ".join(commands("setup"))
    assert "--search" not in " ".join(commands("setup", "PYTHON=python3.12"))


def test_ci_runs_make_test():
    assert os.access(TOP / ".ci" / "run", os.X_OK)
    assert (TOP / ".ci" / "run").read_text().splitlines()[-1] == "exec make test"
    assert commands("test")[-1] == '".venv/bin/pytest" '


def test_cluster_tests_run_by_themselves_and_install_only_when_told():
    assert commands("test-cluster")[-1] == 'PRUNELIB_INSTALL_SLURM= ".venv/bin/pytest" -s -m cluster tests/cluster '
    assert commands("test-cluster", "INSTALL=1")[-1].startswith("PRUNELIB_INSTALL_SLURM=1 ")


def test_fuzz_takes_readers_and_inputs():
    assert commands("fuzz")[-1] == '".venv/bin/python" -m tests.fuzz '
    assert commands("fuzz", "ARGS=zip --inputs 1000")[-1] == '".venv/bin/python" -m tests.fuzz zip --inputs 1000'


def test_the_workflow_of_the_repository_host_lints_tests_and_tests_on_a_cluster():
    jobs = yaml.safe_load((TOP / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    steps = {step["run"] for job in jobs.values() for step in job["steps"] if "run" in step}
    assert {"make lint", "make test"} <= steps
    assert any("make test-cluster" in step for step in steps)
    assert all(job["timeout-minutes"] <= 60 for job in jobs.values())


def test_help_names_every_target():
    phony = next(line for line in (TOP / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    shown = subprocess.run(["make", "help"], cwd=TOP, text=True, capture_output=True, check=True).stdout
    for target in phony.split()[1:]:
        assert f"  make {target} " in shown


def test_clean_refuses_without_a_terminal(tree):
    result = clean(tree)
    assert result.returncode == 2
    assert "make clean FORCE=1" in result.stderr.splitlines()[0]
    assert left(tree) == PROTECTED + DELETED + KEPT


def test_forced_clean_spares_reference_results_data_and_environment(tree):
    assert clean(tree, "FORCE=1").returncode == 0
    assert left(tree) == PROTECTED + KEPT


def test_clean_follows_a_results_folder_on_another_disk(tree):
    (tree / "results").rename(tree / "scratch")
    (tree / "results").symlink_to("scratch")
    assert clean(tree, "FORCE=1").returncode == 0
    assert left(tree) == PROTECTED + KEPT
    assert (tree / "results").is_symlink()


@pytest.mark.parametrize(("answer", "remaining"), [("n", PROTECTED + DELETED + KEPT), ("y", PROTECTED + KEPT)])
def test_clean_asks_on_a_terminal(tree, answer, remaining):
    master, terminal = pty.openpty()
    os.write(master, f"{answer}\n".encode())
    result = clean(tree, stdin=terminal)
    os.close(terminal)
    os.close(master)
    assert "[y/N]" in result.stdout
    assert result.returncode == (0 if answer == "y" else 2)
    assert left(tree) == remaining
