"""The sets of packages agree: pyproject.toml, the pinned and hashed requirements.txt, the conda files, the rules."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

TOP = Path(__file__).resolve().parents[2]
ENVS = TOP / "envs"
TEXT = (ENVS / "requirements.txt").read_text()
ENTRIES = re.findall(r"^([a-z0-9.-]+)==(\S+)[^\n]*\n((?:    --hash[^\n]*\n)*)", TEXT, re.MULTILINE)
PINS = {name: version for name, version, _ in ENTRIES}
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
EXTRAS = [text for extra in PROJECT["optional-dependencies"].values() for text in extra]
DECLARED = [Requirement(text) for text in PROJECT["dependencies"] + EXTRAS]
STEP_FILES = ["data.yaml", "report.yaml", "torch.yaml"]
PACKAGE_OF = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn", "torch_pruning": "torch-pruning"}
PACKAGE_OF |= {"yaml": "pyyaml"}


def conda_packages(name):
    """Return the conda names and the pip lines of an environment file."""
    dependencies = yaml.safe_load((ENVS / name).read_text())["dependencies"]
    pip_lines = [line for entry in dependencies if isinstance(entry, dict) for line in entry["pip"]]
    return [entry for entry in dependencies if isinstance(entry, str)], pip_lines


def test_every_entry_is_pinned_once_and_hashed():
    assert len(PINS) == len(ENTRIES) > 100
    for name, _, hashes in ENTRIES:
        assert re.match(r"    --hash=sha256:[0-9a-f]{64}\b", hashes), f"{name} has no hash"


def test_every_line_is_a_pin_a_hash_or_a_comment():
    for line in TEXT.splitlines():
        assert re.match(r"#|    #|[a-z0-9.-]+==|    --hash=sha256:", line), line


def test_no_address_of_an_index():
    assert "://" not in TEXT
    assert not re.search(r"--(extra-)?index|--find-links|via index|--trusted-host", TEXT)


@pytest.mark.parametrize("requirement", DECLARED, ids=str)
def test_declared_dependency_is_pinned_at_an_allowed_version(requirement):
    pinned = PINS[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(Version(pinned)), f"{requirement} but {pinned}: run make lock"


def test_the_set_serves_linux_and_macos_from_one_torch_build():
    assert "+" not in PINS["torch"]
    assert "+" not in PINS["torchvision"]
    assert re.search(r"^triton==\S+ ;.*sys_platform == 'linux'", TEXT, re.MULTILINE)
    assert re.search(r"^numpy==\S+ \\$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("name", STEP_FILES)
def test_step_environment_names_the_pinned_versions(name):
    conda, pip_lines = conda_packages(name)
    assert conda == ["python=3.13", "pip"]
    for line in pip_lines:
        package, version = line.split("==")
        assert PINS[package] == version, f"envs/{name} has {line}, requirements.txt {PINS[package]}"


@pytest.mark.parametrize("name", STEP_FILES)
def test_step_environment_holds_declared_dependencies_only(name):
    declared = {canonicalize_name(requirement.name) for requirement in DECLARED}
    assert {line.split("==")[0] for line in conda_packages(name)[1]} <= declared


def packages_imported(folder):
    """Return the packages that the Python files of a room of prunelib import, at the top or inside a function."""
    found = set()
    for path in (TOP / "prunelib").glob(folder):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return {PACKAGE_OF.get(name, name) for name in found - sys.stdlib_module_names - {"prunelib"}}


@pytest.mark.parametrize(
    ("name", "rooms"),
    [
        ("data.yaml", ["data/**/*.py", "workflow/*.py"]),
        ("report.yaml", ["report/**/*.py", "storage/hdf5.py", "workflow/*.py"]),
        ("torch.yaml", ["*.py", "[!r]*/**/*.py"]),
    ],
)
def test_step_environment_holds_what_its_steps_import(name, rooms):
    imported = set().union(*(packages_imported(room) for room in rooms))
    assert {"h5py", "numpy"} <= imported
    assert imported <= {line.split("==")[0] for line in conda_packages(name)[1]}


def test_the_whole_conda_environment_is_the_pinned_set():
    conda, pip_lines = conda_packages("conda.yaml")
    assert conda == ["python=3.13", "pip"]
    assert pip_lines == ["-r requirements.txt"]


def test_rules_name_step_environments_that_exist():
    named = {
        path for file in (TOP / "rules").glob("*.smk") for path in re.findall(r'"\.\./envs/(.*)"', file.read_text())
    }
    assert named <= set(STEP_FILES)
