"""Prepare a data set: one specification in, one sealed HDF5 file out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import prunelib
from prunelib import registry
from prunelib.config import checked_options
from prunelib.data.datasets import write
from prunelib.data.download import shown
from prunelib.storage.provenance import versions

PACKAGES = ("h5py", "numpy", "pillow", "scikit-image", "scikit-learn", "scipy")  # what decides pixels and bytes
log = logging.getLogger(__name__)


def prepare(spec: Mapping[str, Any], output: str | Path) -> None:
    """Write the data file that ``spec`` = {"source": name, "options": {...}, "seed": int} describes, or nothing at all.

    The seed draws the splits and nothing else. The file's provenance holds what decides its bytes (specification,
    packages, checksums of inputs), not the machine, so that the same inputs give the same file anywhere. Raises
    ConfigError for an unknown source or option, DataError for input that is missing, corrupt, unsafe or changed.
    """
    name, seed = spec["source"], int(spec.get("seed", 0))
    options = checked_options("data", name, spec.get("options") or {}, f"data.{name}")
    made = registry.load("data", name)(seed, **options)
    recorded = {key: shown(value) if isinstance(value, str) else value for key, value in options.items()}
    known = {"spec": {"source": name, "options": recorded, "seed": seed}, "prunelib": prunelib.__version__}
    write(output, replace(made, provenance=known | {"packages": versions(PACKAGES)} | made.provenance))
    log.info("%s: written from %s.", output, made.source)
