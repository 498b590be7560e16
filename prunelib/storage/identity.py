"""What work is done for: the digest of settings and input files that says whether what was saved is of use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunelib.storage.files import sha256


def identity(settings: Mapping[str, Any], inputs: Mapping[str, Path]) -> str:
    """Digest of all that a checkpoint or a result depends on: the settings and the bytes of the input files."""
    return digest([settings, {name: sha256(path) for name, path in inputs.items()}])


def digest(value: Any) -> str:
    """Hexadecimal sha256 of plain types, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
