"""Old data sets come as pickles: read the few plain things they hold and run nothing."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from prunelib.errors import DataError

ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
REBUILDERS = {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}


class _Plain(pickle.Unpickler):
    """Knows numpy arrays besides the built-in containers, numbers and strings, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in REBUILDERS:
            return _empty
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which data do not need")


def _empty(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """Make the empty array that a pickle then fills, whatever size it asks for here."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f"it asks for an array of type {kind}")
    return np.empty(0, dtype=np.uint8)


def load_plain(content: bytes, where: str) -> dict[bytes, Any]:
    """Return the dict in a pickle written by Python 2 (its strings as bytes); raises DataError for anything else."""
    try:
        value = _Plain(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a broken pickle raises whatever its bytes amount to
        raise DataError(f"{where}: not a pickle of plain data ({error}).") from None
    if not isinstance(value, dict):
        raise DataError(f"{where}: holds a {type(value).__name__}; expected a dict.")
    return value
