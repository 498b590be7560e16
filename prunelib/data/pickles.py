"""Old data sets come as pickles: read the few plain things they hold and run nothing.

Known are the operations that Python 2 wrote for plain data; arrays are stand-ins until their bytes are checked.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np

from prunelib.errors import DataError
from prunelib.storage.unpickler import Careful

# Numbers, strings, lists, tuples and dicts, and what an array is rebuilt with.
KNOWN = {
    *("PROTO", "STOP", "MARK", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE", "GLOBAL", "REDUCE", "BUILD"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
    *("PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET"),
}
CODES = {ord(opcode.code) for opcode in pickletools.opcodes if opcode.name in KNOWN}
TYPES = {"u1": np.uint8, "i4": np.int32, "i8": np.int64, "f8": np.float64}


class _Kind:
    """Stands for a numpy dtype by its name; what the pickle says of its byte order is ignored, it is little-endian."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code.decode("ascii") if isinstance(code, bytes) else code
        if not isinstance(self.code, str):  # the hash of nested tuples may take for ever
            raise pickle.UnpicklingError("a kind of array without a name")

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stands for an array until its state, the last of which is its bytes, has been checked."""

    value: np.ndarray | None = None

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        dtype = np.dtype(TYPES[kind.code]).newbyteorder("<")
        if not all(type(side) is int and side >= 0 for side in shape) or not isinstance(content, bytes):
            raise pickle.UnpicklingError("an array without a shape")
        if math.prod(shape) * dtype.itemsize != len(content):
            raise pickle.UnpicklingError("an array whose bytes do not fill it")
        flat = np.frombuffer(content, dtype)
        self.value = flat.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="))


STANDS = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
}


def _unknown(_: Any) -> None:
    raise pickle.UnpicklingError("it asks for what Python 2 did not write")


class _Plain(Careful):
    """Knows numpy arrays besides the built-in containers, numbers and strings, and nothing else."""

    dispatch = {code: work if code in CODES else _unknown for code, work in Careful.dispatch.items()}  # noqa: RUF012

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in STANDS:
            return STANDS[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which data do not need")


def load_plain(content: bytes, where: str) -> dict[bytes, Any]:
    """Return the dict in a pickle written by Python 2 (its strings as bytes); raises DataError for anything else."""
    try:
        value = _Plain(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a broken pickle raises whatever its bytes amount to
        raise DataError(f"{where}: not a pickle of plain data ({str(error)[:200]}).") from None
    if not isinstance(value, dict):
        raise DataError(f"{where}: holds a {type(value).__name__}; expected a dict.")
    return {key: item.value if isinstance(item, _Array) else item for key, item in value.items()}
