"""Atomic files: write to a temporary name in the same directory, flush to disk, rename; presence means completeness."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prunelib.errors import ArtefactError

_checks: list[Callable[[], None]] = []


def cache() -> Path:
    """Return the directory of downloads and of what libraries keep from one process to the next.

    It is PRUNELIB_CACHE, or ~/.cache/prunelib.
    """
    return Path(os.environ.get("PRUNELIB_CACHE") or Path.home() / ".cache" / "prunelib")


@contextmanager
def checked_by(check: Callable[[], None]) -> Iterator[None]:
    """Call ``check`` before any file gets its name in the block: when it raises, the file stays as it was."""
    _checks.append(check)
    try:
        yield
    finally:
        _checks.remove(check)


def may_write() -> None:
    """Raise what a check of ``checked_by`` raises when this process must write no more."""
    for check in _checks:
        check()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends well and is removed when it fails.

    Raises what a check of ``checked_by`` raises.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp" + target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        _flush(temporary)
        may_write()
        os.replace(temporary, target)
        _flush(target.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _flush(path: Path) -> None:
    """Force a file's bytes, or a directory's entries, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically (UTF-8)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically: indented, keys in the given order, NaN and infinity refused (use None)."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_bytes(path: str | Path) -> bytes:
    """Read a whole artefact; a missing or unreadable file raises ArtefactError naming it."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ArtefactError(f"{path}: missing; the step that writes it has not run.") from None
    except OSError as error:
        raise ArtefactError(f"{path}: can't be read ({error}).") from None


def read_json(path: str | Path) -> Any:
    """Read a JSON artefact; a missing or torn file raises ArtefactError naming it."""
    try:
        return json.loads(read_bytes(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:  # among others, numbers of thousands of digits
        raise ArtefactError(f"{path}: not valid JSON ({error}); delete it and run again.") from None


def sha256(path: str | Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
