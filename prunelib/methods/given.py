"""A mask from a file: one that others found and published, as flat bits over all parameters of the network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from prunelib.errors import ArtefactError, MethodError
from prunelib.masks.flat import read_flat
from prunelib.masks.mask import Mask
from prunelib.registry import register
from prunelib.tasks.base import Task

TOLERANCE = 1e-3  # of the density: a budget has few digits, a published mask need not be exact


@register("method", "given", stage="mask", parent="none", start="init", budgets=("density",))
def given(
    task: Task,
    budget: Mapping[str, Any],
    generator: torch.Generator,
    *,
    location: str,
    sha256: str | None = None,
) -> Mask:
    """Return the mask in the file ``location`` (formats: ``prunelib.masks.flat``), over all parameters of the network.

    sha256: of the file, in hexadecimal, checked where it is given. Raises ArtefactError for a file that can't be read
    or is another one, MethodError when it does not fit the network or keeps another share than the budget (to 1e-3).
    """
    path, model = Path(location).expanduser(), task.build()
    bits = read_flat(path, sum(parameter.numel() for parameter in model.parameters()))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise ArtefactError(f"{path}: its sha256 is {found}, not {sha256}.")
    mask = Mask.from_flat(bits, model)
    if abs(mask.density - budget["value"]) > TOLERANCE:
        raise MethodError(f"{path}: keeps {mask.density:.4g} of the parameters; the budget says {budget['value']:.4g}.")
    return mask
