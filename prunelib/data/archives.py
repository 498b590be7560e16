"""The files of a folder, tar or zip, read in place: nothing is extracted, so nothing lands outside or is left behind.

Every member is checked before any is used: absolute names, ``..``, links, devices and duplicate names are refused, and
count, member size, total size and compression ratio are bounded. An archive must be whole: a tar must reach its end
mark, a gzip stream and each member of a zip must fit its checksum.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from prunelib.data.images import read_bytes
from prunelib.errors import DataError

MEMBERS = 5_000_000
MEMBER_BYTES = 2**29
TOTAL_BYTES = 2**38
RATIO = 200  # unpacked / packed; real pictures reach about 5
RATIO_FREE = 2**26  # unpacked bytes below which the ratio does not matter
BLOCK = 512  # of a tar
UNSAFE = re.compile(r"^/|^[A-Za-z]:|\\|[\x00-\x1f]|(^|/)\.\.(/|$)")

BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,  # among others, a gzip stream with a wrong checksum
    NotImplementedError,  # a zip that asks for a newer reader
    ValueError,
    OverflowError,  # a size of over 63 bits
    LookupError,  # an empty name
)

Member = tuple[str, Callable[[], bytes]]


def names(location: Path) -> list[str]:
    """Return the sorted names of all files of a folder or archive, having checked every member.

    Names are relative, with forward slashes. Raises DataError when an archive is unsafe, torn or of another kind.
    """
    return sorted(name for name, _ in _members(location))


def contents(location: Path, wanted: set[str] | dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of the wanted files in the order they are stored, with the checks of ``names``."""
    with _explained(location):
        for name, read in _members(location):
            if name in wanted:
                yield name, read()


def _members(location: Path) -> Iterator[Member]:
    if location.is_dir():
        return _folder(location)
    try:
        with open(location, "rb") as stream:
            head = stream.read(4)
    except OSError as error:
        raise DataError(f"{location}: can't be read ({error.strerror}).") from None
    if head[:2] == b"PK":
        return _checked(_zip(location), location)
    return _checked(_tar(location, packed=head[:2] == b"\x1f\x8b"), location)


def _checked(members: Iterator[Member], location: Path) -> Iterator[Member]:
    """Pass on members with distinct names; every way in which an archive can be broken becomes DataError."""
    seen: set[str] = set()
    with _explained(location):
        for name, read in members:
            if name in seen:
                raise DataError(f"{location}: holds '{name}' twice; refused.")
            seen.add(name)
            if len(seen) > MEMBERS:
                raise DataError(f"{location}: holds over {MEMBERS:,} files; refused.")
            yield name, read


@contextmanager
def _explained(location: Path) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        raise DataError(f"{location}: not a whole .zip, .tar or .tar.gz ({error}); fetch it again.") from None


def _safe_name(name: str, location: Path) -> str:
    """Return a relative name without '.' parts; raises DataError when it could lead anywhere else."""
    if UNSAFE.search(name) or len(name) > 1024:
        raise DataError(f"{location}: unsafe member name {name[:200]!r} (absolute, '..' or odd characters); refused.")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _folder(top: Path) -> Iterator[Member]:
    """Walk a directory of the user's own; links in it are followed, each directory is visited once."""
    seen: set[str] = set()
    for place, folders, files in os.walk(top, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(folders)
        for file in [] if real in seen else sorted(files):
            path = Path(place, file)
            if path.is_file():
                yield path.relative_to(top).as_posix(), partial(read_bytes, path)
        seen.add(real)


def _zip(location: Path) -> Iterator[Member]:
    with zipfile.ZipFile(location) as archive:
        total, limit, packed = 0, unpacked_limit(location), location.stat().st_size
        for info in archive.infolist():
            name, kind = _safe_name(info.orig_filename, location), stat.S_IFMT(info.external_attr >> 16)
            plain = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) and not info.flag_bits & 1
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or not plain:
                raise DataError(f"{location}: '{name}' is a link, a special file, encrypted or oddly packed; refused.")
            total += info.file_size
            if info.file_size > MEMBER_BYTES or total > limit or info.compress_size > packed:
                raise DataError(f"{location}: unpacks to too many bytes at '{name}'; refused.")
            if not info.is_dir():
                yield name, partial(archive.read, info)


def _tar(location: Path, packed: bool) -> Iterator[Member]:
    with gzip.open(location) if packed else open(location, "rb") as stream:
        bounded = _Bounded(stream, unpacked_limit(location) if packed else TOTAL_BYTES, location)
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # else the archive would remember each of millions
                name = _safe_name(member.name, location)
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise DataError(f"{location}: '{name}' is a link, a device or sparse; refused.")
                if member.size > MEMBER_BYTES:
                    raise DataError(f"{location}: '{name}' has {member.size:,} bytes; refused.")
                yield name, partial(_whole, archive, member)
            bounded.finish()


def _whole(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = archive.extractfile(member).read()
    if len(content) != member.size:
        raise EOFError(f"'{member.name}' ends early")
    return content


def unpacked_limit(location: Path) -> int:
    """Return how many bytes an archive, or any packed file, may unpack to."""
    return min(TOTAL_BYTES, max(RATIO_FREE, RATIO * location.stat().st_size))


class _Bounded:
    """A tar's unpacked bytes, with a bound on them; remembers the last block read, which must be the end mark."""

    def __init__(self, stream: BinaryIO, limit: int, location: Path) -> None:
        self._stream, self._limit, self._location = stream, limit, location
        self._last = b""
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        if size > MEMBER_BYTES:  # a header may claim any size, and reading it would ask for that much memory
            raise DataError(f"{self._location}: a member claims {size:,} bytes; refused.")
        self._check(self.tell() + size)
        self._last = self._stream.read(size)
        return self._last

    def seek(self, position: int) -> int:
        self._check(position)
        return self._stream.seek(position)

    def finish(self) -> None:
        """Require the end mark and read on to the end, so that gzip checks its checksum."""
        if self._last != bytes(BLOCK):
            raise EOFError("a tar that ends early")
        while self._stream.read(2**20):
            self._check(self.tell())

    def _check(self, position: int) -> None:
        if position > self._limit:
            raise DataError(f"{self._location}: unpacks to over {self._limit:,} bytes; refused.")
