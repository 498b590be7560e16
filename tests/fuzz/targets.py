"""What is fuzzed: each reader of bytes that may come from elsewhere, with whole files to start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutate import Alter

Make = Callable[[Random, bytes, Alter], bytes]


def changed(random: Random, seed: bytes, alter: Alter) -> bytes:
    """Change a file anywhere: for formats without a checksum over everything."""
    return alter(seed)


def nothing(_: Path) -> list[bytes]:
    """No crafted attacks."""
    return []


@dataclass(frozen=True)
class Target:
    """A reader and its inputs.

    read: takes a path, returns what it read or raises PrunelibError. seeds: whole files, made in a directory. make:
    one change of a file, so that it gets past checksums. crafted: attacks made by hand, used as they are and changed.
    tokens: what is inserted. memory: bytes it may take more than the process had. prepare: what must lie beside.
    starts: whether it starts a process.
    """

    name: str
    read: Callable[[Path], Any]
    seeds: Callable[[Path], list[bytes]]
    make: Make = changed
    crafted: Callable[[Path], list[bytes]] = nothing
    tokens: tuple[bytes, ...] = ()
    suffix: str = ".bin"
    memory: int = 2**30
    prepare: Callable[[Path], None] = lambda _: None
    starts: bool = False


def all_targets() -> dict[str, Target]:
    """Return every target by name."""
    from tests.fuzz import targets_data as data
    from tests.fuzz import targets_hdf5 as hdf5
    from tests.fuzz import targets_models as models
    from tests.fuzz import targets_pictures as pictures
    from tests.fuzz import targets_records as records
    from tests.fuzz import targets_storage as storage
    from tests.fuzz import targets_text as text

    rooms = (data, pictures, storage, hdf5, models, text, records)
    return {target.name: target for room in rooms for target in room.TARGETS}
