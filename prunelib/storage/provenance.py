"""Provenance: what a result was made with - code, packages, machine and inputs by checksum."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import prunelib
from prunelib.storage.files import sha256

PACKAGES = (
    "h5py",
    "numpy",
    "pandas",
    "pillow",
    "safetensors",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "snakemake",
    "timm",
    "torch",
    "torch-pruning",
    "torchvision",
)
HOME = Path(prunelib.__file__).parent
# In the environment of jobs, and of what they start, that may use only kernels that always give the same bits.
DETERMINISTIC = "PRUNELIB_DETERMINISTIC"


def provenance(inputs: Mapping[str, str | Path]) -> dict[str, Any]:
    """Return plain types: prunelib, commit, dirty, python, packages, machine and the sha256 of each input file by name.

    Nothing is imported to find a version; ``gpu``, ``threads`` (torch's) and ``deterministic`` (whether torch may only
    use kernels that always give the same bits) are None unless torch is already imported.
    ``commit`` and ``dirty`` are None when this code does not lie in a git checkout of its own.
    """
    return {
        "prunelib": prunelib.__version__,
        **code(),
        "python": platform.python_version(),
        "packages": versions(PACKAGES),
        "machine": {"platform": platform.platform(), "cpu": _cpu(), "cores": cores(), **_torch()},
        "inputs": {name: sha256(path) for name, path in inputs.items()},
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of those of the packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cores() -> int:
    """Number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB.

    Linux says it of the process itself; its ru_maxrss would hold what the process that started this one had, too.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10
    except (OSError, StopIteration):
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@cache
def code() -> dict[str, str | bool | None]:
    """Return the commit and whether tracked files differ from it, if git knows this package's files."""
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None, "dirty": None}
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": _git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}  # a status that refreshes the index would block other jobs
    command = ["git", "-C", str(HOME), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _torch() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None:
        return {"threads": None, "gpu": None, "deterministic": None}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    strict = torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    return {"threads": torch.get_num_threads(), "gpu": gpu, "deterministic": strict}
