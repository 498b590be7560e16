"""The floors of the house: no room imports from a room above it, and importing the package is quick."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import prunelib

ROOT = Path(__file__).parents[1]
LIST = prunelib.__doc__.split("):\n")[1].split(".")[0]
FLOORS = [*"".join(LIST.split()).split(","), "__main__"]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "prunelib").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The rooms a file imports from, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("prunelib.")}
    return found & set(FLOORS)


def test_every_room_has_a_floor() -> None:
    rooms = {path.parts[1].removesuffix(".py") for path in FILES} - {"__init__"}
    assert rooms == set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_come_from_below(path: Path) -> None:
    room = path.parts[1].removesuffix(".py")
    above = FLOORS[FLOORS.index(room) + 1 :] if room in FLOORS else []
    assert not imported(path) & set(above)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_are_small_and_say_why_they_exist(path: Path) -> None:
    text = (ROOT / path).read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", sorted((ROOT / "workflow_scripts").glob("*.py")), ids=lambda path: path.name)
def test_step_scripts_are_thin(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 30


def test_importing_the_package_imports_nothing_else_that_is_slow() -> None:
    code = "import sys; old = set(sys.modules); import prunelib; print(len(set(sys.modules) - old))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(out.stdout) <= 3
