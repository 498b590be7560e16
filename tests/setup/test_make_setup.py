"""`make setup` for real, with a package index on disk and a stand-in for uv that notes how it was called."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time

import pytest


def uv_calls(sandbox):
    return [json.loads(line) for line in sandbox.calls.read_text().splitlines()] if sandbox.calls.exists() else []


def installed(sandbox):
    return sorted(path.name for path in sandbox.venv.glob("lib/python*/site-packages/*installed.py"))


def child_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.slow
def test_sets_up_once_and_is_not_misled_by_the_configuration_of_pip_and_uv(sandbox):
    first = sandbox.make("setup")
    assert first.returncode == 0, first.stderr
    assert installed(sandbox) == ["installed.py"]
    (call,) = uv_calls(sandbox)
    assert call["build"] == "pinned"
    assert call["argv"][:3] == ["pip", "sync", "--require-hashes"]
    assert call["argv"][-3:] == ["--build-constraint", "envs/requirements.txt", "envs/requirements.txt"]
    assert {name for name in call["env"] if name.startswith("UV_")} == {"UV_DEFAULT_INDEX"}
    assert call["env"]["UV_DEFAULT_INDEX"] == sandbox.env["PIP_INDEX_URL"]
    assert not {"PIP_FIND_LINKS", "PIP_TARGET", "PIP_USER", "PYTHONPATH", "VIRTUAL_ENV"} & call["env"].keys()

    before = child_seconds()
    again = sandbox.make("setup")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert child_seconds() - before < 0.5
    assert len(uv_calls(sandbox)) == 1

    # Other requirements: the packages are brought up to date in place.
    with open(sandbox.folder / "envs" / "requirements.txt", "a") as requirements:
        requirements.write("# changed\n")
    marker = sandbox.venv / "marker"
    marker.touch()
    assert sandbox.make("setup").returncode == 0
    assert len(uv_calls(sandbox)) == 2
    assert marker.exists()

    # A copy's scripts would start the original's interpreter: it is made anew.
    copy = sandbox.folder.with_name("copy")
    shutil.copytree(sandbox.folder, copy, symlinks=True)
    sandbox.folder, sandbox.venv = copy, copy / ".venv"
    assert sandbox.make("setup").returncode == 0
    assert len(uv_calls(sandbox)) == 3
    assert not (sandbox.venv / "marker").exists()
    assert str(copy) in (sandbox.venv / "bin" / "uv").read_text().splitlines()[0]


@pytest.mark.slow
def test_what_was_killed_half_way_is_recognised_and_a_failure_is_one_line(sandbox):
    process = subprocess.Popen(
        sandbox.command("setup"),
        cwd=sandbox.folder,
        env=sandbox.env | {"TEST_UV": "hang"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while installed(sandbox) != ["half_installed.py"]:
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    failed = sandbox.make("setup", TEST_UV="offline")
    assert failed.returncode == 2
    (ours,) = [line for line in failed.stderr.splitlines() if not line.startswith("make: ")]
    assert ours.startswith("prunelib setup: cannot reach the package index")
    assert "dns error" in (sandbox.venv / "install.log").read_text()
    assert installed(sandbox) == []

    assert sandbox.make("setup").returncode == 0
    assert installed(sandbox) == ["installed.py"]
    assert len(uv_calls(sandbox)) == 3


def one_line(sandbox, *arguments, **variables):
    """Run `make setup`, expect it to fail before it creates anything, and return its only line."""
    failed = sandbox.make("setup", *arguments, **variables)
    assert failed.returncode == 2
    assert not (sandbox.venv / "bin").exists()
    (line,) = [line for line in failed.stderr.splitlines() if not line.startswith("make: ")]
    return line


def test_unusable_interpreters_are_refused(sandbox):
    assert "PYTHON=false is no working Python (exit status 1)" in one_line(sandbox, "PYTHON=false")
    assert "there is no python9.9 here" in one_line(sandbox, "PYTHON=python9.9")


def test_too_small_a_disk_is_refused(sandbox):
    line = one_line(sandbox, PRUNELIB_NEED_GB="10000000")
    assert "needs 10000000.0 GB more disk space" in line
    assert "PRUNELIB_VENV=" in line


def test_a_folder_of_other_files_is_left_alone(sandbox):
    folder = sandbox.folder / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").touch()
    assert "thesis holds other files" in one_line(sandbox, PRUNELIB_VENV="thesis")
    assert [path.name for path in folder.iterdir()] == ["chapter.tex"]
