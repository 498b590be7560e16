"""Take the tensors out of a torch pickle without running anything in it; ``legacy`` runs this in its own process.

Every name in the pickle becomes an inert stand-in: nothing foreign is imported or called, so whole pickled modules can
be read without their classes. What hostile bytes could do all the same is bounded by ``jail``. Imports no torch.
"""

from __future__ import annotations

import json
import math
import os
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from prunelib.storage.jail import cut_off, lock
from prunelib.storage.unpickler import Careful, Ordered, plain_set

KEYS = ("model", "state_dict", "state_dict_ema", "model_ema", "module")  # where checkpoints keep their networks
# torch's name of a type: (of its storage, safetensors' name, numpy's type of as many bytes)
TYPES = {
    "float64": ("Double", "F64", "<f8"),
    "float32": ("Float", "F32", "<f4"),
    "float16": ("Half", "F16", "<f2"),
    "bfloat16": ("BFloat16", "BF16", "<u2"),
    "int64": ("Long", "I64", "<i8"),
    "int32": ("Int", "I32", "<i4"),
    "int16": ("Short", "I16", "<i2"),
    "int8": ("Char", "I8", "|i1"),
    "uint8": ("Byte", "U8", "|u1"),
    "bool": ("Bool", "BOOL", "|u1"),
}
OLD_MAGIC = 0x1950A86A20F9469CFC6C  # first value of a file written by torch before 1.6
DIMENSIONS = 64  # that torch knows
EXPECTED = 3  # exit status of a refusal whose words are on standard error


class Refused(Exception):
    """The file is not what can be read here."""


class Foreign:
    """Stands for any object of the pickle: keeps the state it is given and does nothing."""

    state: Any = None

    def __new__(cls, *given: Any, **named: Any) -> Foreign:
        """Accept what the true class was made with."""
        return object.__new__(cls)

    def __init__(self, *given: Any, **named: Any) -> None:
        """Ignore it."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *given: Any, **named: Any) -> Foreign:
        """Stand for the result of a call too, or ignore an item of a foreign list or dict."""
        return Foreign()

    append = extend = __setitem__ = __call__


class Array:
    """A tensor: where its elements lie in a storage."""

    def __init__(self, storage: Any, offset: int, size: Any, stride: Any, kind: str | None = None) -> None:
        """Note a view of a storage: offset and strides in elements; checked when it is copied."""
        self.storage, self.offset, self.kind = storage, offset, kind
        self.size, self.stride = tuple(size), tuple(stride)
        if len(self.size) > DIMENSIONS:
            raise Refused(f"it has a tensor of {len(self.size)} dimensions")


class Kind(NamedTuple):
    """A type of elements, standing for a class of storages or for a dtype, by torch's name."""

    name: str


class Storage(NamedTuple):
    """A run of elements in the file: its type and its key; the bytes are read when a tensor is copied."""

    kind: str
    key: str


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Array:
    return Array(storage, offset, size, stride)


def _tensor_of_type(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Array:
    kinds = [value.name for value in rest if isinstance(value, Kind)]
    return Array(storage, offset, size, stride, *kinds)


def _first(first: Any, *rest: Any) -> Any:
    return first


SAFE: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Ordered,
    **{(module, "set"): plain_set for module in ("builtins", "__builtin__")},
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_type,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch.storage", "UntypedStorage"): Kind("uint8"),
    **{("torch", f"{names[0]}Storage"): Kind(name) for name, names in TYPES.items()},
    **{("torch", name): Kind(name) for name in TYPES},
}


class Reader(Careful):
    """Reads a pickle whose every name is a stand-in; ``kinds`` are the types of the storages it mentioned, by key."""

    def __init__(self, source: Any) -> None:
        """Read from an open file."""
        super().__init__(source)
        self.kinds: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a name; nothing is imported."""
        return SAFE.get((module, name), Foreign)

    def persistent_load(self, pid: Any) -> Any:
        """Return the storage that a persistent id names."""
        if isinstance(pid, tuple) and pid[:1] == ("module",):  # torch before 1.6 kept a class with its source code
            return Foreign
        if not isinstance(pid, tuple) or len(pid) < 3 or pid[0] != "storage":
            raise Refused("it refers to something that is no tensor storage")
        if not isinstance(pid[1], Kind):
            raise Refused("it has tensors of a type that is not known here")
        self.kinds[str(pid[2])] = pid[1].name
        return Storage(pid[1].name, str(pid[2]))


def main(key: str) -> int:
    """Read a pickle on standard input, write safetensors to standard output; the process is not good for more.

    ``key``: where the checkpoint keeps its state dict or module; empty: found if there is one. Returns the exit status:
    0, or EXPECTED for a refusal whose words are on standard error.
    """
    source, target = sys.stdin.buffer, sys.stdout.buffer
    cut_off()
    import numpy  # only now: its threads would keep the process in its network

    lock(os.fstat(source.fileno()).st_size)
    try:
        content, bytes_of = _read(source)
        _write(target, choose(content, key), bytes_of, numpy)
        target.flush()
    except Refused as error:
        sys.stderr.write(str(error))
        return EXPECTED
    except Exception as error:  # hostile bytes raise whatever they amount to
        sys.stderr.write(f"its bytes can't be followed: {type(error).__name__}: {error}"[:500])
        return EXPECTED
    return 0


def _read(source: BinaryIO) -> tuple[Any, Callable[[str], bytes]]:
    """Return the unpickled stand-ins and a function that gives a storage's bytes by key."""
    if source.read(2) == b"PK":
        return _read_zip(zipfile.ZipFile(source))
    source.seek(0)
    if Reader(source).load() != OLD_MAGIC:
        raise Refused("it is a pickle, but not one that torch.save wrote")
    Reader(source).load()  # the version of the format
    if Reader(source).load().get("little_endian") is not True:
        raise Refused("its numbers are not little-endian")
    reader = Reader(source)
    content = reader.load()
    places = dict(_places(source, Reader(source).load(), reader.kinds))

    def bytes_of(key: str) -> bytes:
        start, length = places[key]
        source.seek(start)
        return source.read(length)

    return content, bytes_of


def _places(source: BinaryIO, keys: list[Any], kinds: Mapping[str, str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield (key, (start, length)) of the storages that follow one another, each after its count of elements."""
    for key in map(str, keys):
        length = int.from_bytes(source.read(8), "little") * int(TYPES[kinds[key]][2][-1])
        yield key, (source.tell(), length)
        source.seek(length, os.SEEK_CUR)


def _read_zip(archive: zipfile.ZipFile) -> tuple[Any, Callable[[str], bytes]]:
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise Refused("it is an archive, but not one that torch.save wrote")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise Refused("it has compressed parts, which torch.save does not write")
    prefix = names[0].removesuffix("data.pkl")
    if f"{prefix}byteorder" in archive.namelist() and archive.read(f"{prefix}byteorder") != b"little":
        raise Refused("its numbers are not little-endian")
    with archive.open(names[0]) as stream:
        content = Reader(stream).load()
    return content, lambda key: archive.read(f"{prefix}data/{key}")


def choose(content: Any, key: str) -> dict[str, Array]:
    """Return the tensors by name of the state dict or module that a checkpoint holds, under ``key`` where given."""
    if key:
        if not isinstance(content, Mapping) or key not in content:
            names = ", ".join(map(str, content)) if isinstance(content, Mapping) else "none, it is no dict"
            raise Refused(f"it has no key '{key}'; there are: {names}")
        return tensors(content[key])
    if found := tensors(content):
        return found
    there = [name for name in KEYS if isinstance(content, Mapping) and tensors(content.get(name))]
    if len(there) > 1:
        raise Refused(f"it holds several networks ({', '.join(there)}); say which with --key")
    if not there:
        raise Refused("it holds no state dict and no module; say where with --key if it does")
    return tensors(content[there[0]])


def tensors(found: Any) -> dict[str, Array]:
    """Return the named tensors of a state dict or of a module's stand-in; nothing for anything else."""
    if isinstance(found, Foreign):
        named = dict(_of_module(found, "", 0))
    elif isinstance(found, Mapping) and all(isinstance(value, Array) for value in found.values()):
        named = {str(name): value for name, value in found.items()}
    else:
        return {}
    parallel = named and all(name.startswith("module.") for name in named)  # as DistributedDataParallel names them
    return {name.removeprefix("module."): value for name, value in named.items()} if parallel else named


def _of_module(module: Foreign, prefix: str, depth: int) -> Iterator[tuple[str, Array]]:
    """Yield what the module's state_dict() would: parameters, persistent buffers, then those of its parts."""
    state = module.state if isinstance(module.state, Mapping) else {}
    passing = state.get("_non_persistent_buffers_set") or ()
    for part in ("_parameters", "_buffers"):
        for name, value in (state.get(part) or {}).items():
            if isinstance(value, Array) and not (part == "_buffers" and name in passing):
                yield f"{prefix}{name}", value
    if depth > 100:
        raise Refused("its modules are nested too deep")
    for name, child in (state.get("_modules") or {}).items():
        if isinstance(child, Foreign):
            yield from _of_module(child, f"{prefix}{name}.", depth + 1)


def _write(target: BinaryIO, state: Mapping[str, Array], bytes_of: Callable[[str], bytes], numpy: Any) -> None:
    """Write tensors as safetensors: a header of 8 bytes of length and JSON, then the elements in order."""
    header, start = {}, 0
    for name, found in state.items():
        kind = _kind(found)
        count = math.prod(found.size) * int(TYPES[kind][2][-1])
        header[name] = {"dtype": TYPES[kind][1], "shape": list(found.size), "data_offsets": [start, start + count]}
        start += count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    target.write(len(text).to_bytes(8, "little") + text)
    for name, found in state.items():
        target.write(_elements(name, found, bytes_of, numpy))


def _kind(found: Array) -> str:
    if not isinstance(found.storage, Storage):
        raise Refused("it has a tensor without a storage")
    return found.kind or found.storage.kind


def _elements(name: str, found: Array, bytes_of: Callable[[str], bytes], numpy: Any) -> bytes:
    """Return a tensor's elements in order, having checked that all of them lie in its storage."""
    whole = numpy.frombuffer(bytes_of(found.storage.key), dtype=TYPES[_kind(found)][2])
    numbers = [found.offset, *found.size, *found.stride]
    if len(found.size) != len(found.stride) or not all(type(number) is int and number >= 0 for number in numbers):
        raise Refused(f"the tensor {name} has an impossible shape")
    if 0 in found.size:
        return b""
    last = found.offset + sum((side - 1) * step for side, step in zip(found.size, found.stride, strict=True))
    if last >= len(whole) or math.prod(found.size) > len(whole):
        raise Refused(f"the tensor {name} is larger than its storage")
    strides = [step * whole.itemsize for step in found.stride]
    view = numpy.lib.stride_tricks.as_strided(whole[found.offset :], found.size, strides)
    return view.tobytes()
