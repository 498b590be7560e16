"""A private copy of the repository in which the workflow tests run the real Snakemake."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "config.yaml", "rules", "workflow_scripts", "prunelib", "profiles", "envs", "README.md")


@dataclass(frozen=True)
class Checkout:
    """A copy of the repository and the commands a user gives in it."""

    path: Path

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run snakemake in the copy; with ``check`` a failure fails the test with what it printed."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.path, capture_output=True, text=True, env=environment()
        )
        if check and done.returncode:
            raise AssertionError(
                f"snakemake {' '.join(arguments)} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )
        return done

    def command(self, *arguments: str) -> list[str]:
        """The command line of one snakemake call."""
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]

    def planned(self, *arguments: str) -> dict[str, int]:
        """Jobs per rule that a dry run would start (an empty dict when there is nothing to do)."""
        text = self.snakemake("-n", *arguments).stdout
        counts = re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)
        return {rule: int(count) for rule, count in counts if rule != "total"}

    def write(self, raw: dict[str, Any]) -> None:
        """Replace the copy's configuration."""
        (self.path / "config.yaml").write_text(yaml.safe_dump(raw))

    def take_one_seed(self) -> None:
        """Take one seed of each run of the copy's configuration; fails when it has nowhere more than one."""
        config = self.path / "config.yaml"
        text, count = re.subn(r"\[0(, \d+)+\]", "[0]", config.read_text())
        assert count, f"{config} no longer lists seeds as [0, 1 ...]"
        config.write_text(text)

    def results(self) -> dict[str, bytes]:
        """Contents of every deterministic table."""
        return {file.name: file.read_bytes() for file in sorted((self.path / "results" / "tables").glob("*.csv"))}


def environment() -> dict[str, str]:
    """The environment of a fresh shell: no cache or profile of the caller's leaks in."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("SNAKEMAKE_", "PYTEST_"))}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Copy what the workflow needs; results are the copy's own."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, tmp_path / part)
    return Checkout(tmp_path)
