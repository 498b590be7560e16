"""envs/Dockerfile, as far as it can be checked without an engine: base, files, set-up command, what the image holds."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
TEXT = (TOP / "envs" / "Dockerfile").read_text()
KNOWN = {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "CMD"}


def instructions():
    """Return the instructions in order, each as its word and its arguments."""
    lines = [line for line in TEXT.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def copied(until=None):
    """Return (source, target) of every COPY before an instruction whose arguments contain a text."""
    found = []
    for word, arguments in instructions():
        if until is not None and until in arguments:
            return found
        if word == "COPY":
            *sources, target = arguments.split()
            found += [(source, target) for source in sources]
    return found


def image(folder, pairs):
    """Lay out below a folder what COPY would put into the working directory."""
    for source, target in pairs:
        place = folder / target / Path(source).name if target == "./" else folder / target
        place.parent.mkdir(parents=True, exist_ok=True)
        if (TOP / source).is_dir():
            shutil.copytree(TOP / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(TOP / source, place)


def test_every_instruction_is_one_that_is_understood():
    assert {word for word, _ in instructions()} == KNOWN


def test_base_is_one_version_of_the_python_that_the_conda_files_name():
    base = dict(instructions())["ARG"]
    found = re.fullmatch(r"BASE=python:(3\.\d+)\.\d+-slim-[a-z]+", base)
    assert found
    assert dict(instructions())["FROM"] == "${BASE}"
    assert f"python={found[1]}\n" in (TOP / "envs" / "conda.yaml").read_text()
    assert f"PYTHON=/usr/local/bin/python{found[1]} " in TEXT


def test_every_copied_file_is_there_and_committed():
    for source, _ in copied():
        assert (TOP / source).exists(), source
        listed = subprocess.run(["git", "ls-files", source], cwd=TOP, capture_output=True, text=True).stdout
        assert listed, f"{source} is in no commit"


def test_dockerignore_leaves_what_is_copied():
    rules = [line for line in (TOP / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    left_out = {rule for rule in rules if not rule.startswith("!")} - {"results/*", "**/__pycache__"}
    kept = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    for source, _ in copied():
        assert source.split("/")[0] not in left_out
        assert not source.startswith("results/") or source in kept


def test_set_up_command_runs_with_what_has_been_copied_by_then(tmp_path):
    run = next(arguments for word, arguments in instructions() if word == "RUN" and "make setup" in arguments)
    arguments = re.match(r"make (setup.*?) +&&", run)[1].split()
    image(tmp_path, copied(until="make setup"))
    planned = subprocess.run(
        ["make", "-n", "--no-print-directory", *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    there = subprocess.run(
        ["make", "-n", "--no-print-directory", *arguments], cwd=TOP, capture_output=True, text=True, check=True
    ).stdout
    assert planned == there
    assert '"/usr/local/bin/python3.13" envs/bootstrap.py' in planned and '"/opt/prunelib"' in planned
    assert (tmp_path / "envs" / "bootstrap.py").exists() and (tmp_path / "envs" / "requirements.txt").exists()
    path = next(arguments for word, arguments in instructions() if word == "ENV")
    assert path == "PATH=/opt/prunelib/bin:$PATH"


def test_image_holds_a_whole_pipeline(tmp_path):
    """A dry run with nothing but what is copied plans the same jobs as here."""
    image(tmp_path, copied())
    plans = []
    for folder in (tmp_path, TOP):
        command = [sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--forceall", "--config", "mode=stub"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        plans.append(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    assert plans[0] == plans[1] != []


@pytest.mark.parametrize("command", re.findall(r"^#   (docker build[^\n]*)", TEXT, re.MULTILINE))
def test_documented_build_command_names_this_file(command):
    assert command == "docker build -f envs/Dockerfile -t prunelib ."
