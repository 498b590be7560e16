"""A command's folder: whole results of one request, unfinished work that goes on, and never another request's files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunelib.errors import ArtefactError
from prunelib.storage.files import read_json, write_json


def finished(folder: Path, files: Sequence[str], request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the record of a folder that holds all ``files`` of this very request, or None.

    The last of the files is the record (JSON); it has the request in it.
    """
    if not all((folder / name).is_file() for name in files):
        return None
    record = read_json(folder / files[-1])
    return record if isinstance(record, dict) and record.get("request") == request else None


def claim(folder: Path, files: Sequence[str], work: Path, request: Mapping[str, Any], force: bool, cause: str) -> None:
    """Make ``work`` this request's: go on with its own, begin anew, or refuse to touch what is another's.

    ``cause``: how another request may differ, for the user. Raises ArtefactError unless ``force`` replaces it.
    """
    note = work / "request.json"
    if note.is_file() and read_json(note) == request:
        return
    there = [str(folder / name) for name in files if (folder / name).exists()] + [str(work)] * work.exists()
    if there and not force:
        raise ArtefactError(
            f"{there[0]}: already there, from {cause} or another version of this program. "
            "Choose another folder (--out), or replace it (--force)."
        )
    shutil.rmtree(work, ignore_errors=True)
    write_json(note, request)
