"""An unpickler for bytes that nobody trusts: it finds no name by itself and asks for no more than the bytes explain.

It is Python's own that is written in Python: the one in C asks for gigabytes when ten bytes tell it to, and can't be
interrupted. Keys of dicts and members of sets must be plain, and what is called a function: hash and text of nested
tuples may take for ever. Imports no torch.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

SCALARS = (bytes, str, int, float, type(None))


class Careful(pickle._Unpickler):
    """Refuses every name; a subclass says in ``find_class`` which stand-ins there are."""

    dispatch = dict(pickle._Unpickler.dispatch)  # noqa: RUF012 - pickle's own form

    def find_class(self, module: str, name: str) -> Any:
        """Refuse a name."""
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


class Ordered(OrderedDict):
    """An OrderedDict whose keys are plain however they come in."""

    def __init__(self, pairs: Iterable[Any] = ()) -> None:
        """Take (key, value) pairs."""
        super().__init__()
        for key, value in pairs:
            self[plain(key)] = value


def plain_set(items: Iterable[Any] = ()) -> set[Any]:
    """Return a set of plain members."""
    return {plain(item) for item in items}


def plain(key: Any) -> Any:
    """Return a key whose hash takes no time; raises UnpicklingError for any other."""
    parts = key if isinstance(key, tuple) else (key,)
    if any(isinstance(part, tuple | frozenset) for part in parts):
        raise pickle.UnpicklingError("it has keys within keys")
    return key


def _set_items(reader: Any, pairs: list[Any]) -> None:
    target = reader.stack[-1]
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        target[plain(key)] = value


def _set_item(reader: Any) -> None:
    value, key = reader.stack.pop(), reader.stack.pop()
    _set_items(reader, [key, value])


def _dict(reader: Any) -> None:
    pairs = reader.pop_mark()
    reader.append({})
    _set_items(reader, pairs)


def _add_items(reader: Any) -> None:
    items = reader.pop_mark()
    reader.stack[-1].update(plain_set(items))


def _frozen_set(reader: Any) -> None:
    reader.append(frozenset(plain_set(reader.pop_mark())))


def _reduce(reader: Any) -> None:
    arguments, function = reader.stack.pop(), reader.stack.pop()
    if not callable(function) or not isinstance(arguments, tuple):  # Python's own message would write them out
        raise pickle.UnpicklingError("it calls what is no function")
    reader.append(function(*arguments))


def _byte_array(reader: Any) -> None:
    size = int.from_bytes(reader.read(8), "little")
    reader.append(bytearray(reader.read(size)))


Careful.dispatch |= {
    pickle.SETITEM[0]: _set_item,
    pickle.SETITEMS[0]: lambda reader: _set_items(reader, reader.pop_mark()),
    pickle.DICT[0]: _dict,
    pickle.ADDITEMS[0]: _add_items,
    pickle.FROZENSET[0]: _frozen_set,
    pickle.REDUCE[0]: _reduce,
    pickle.BYTEARRAY8[0]: _byte_array,
}
