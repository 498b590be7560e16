"""What a process gives up before it reads bytes that nobody trusts. Imports no torch.

The reading itself runs nothing foreign; this is what is left should that have a hole: no network (Linux), no new file,
no child, no import, bounded memory and time.
"""

from __future__ import annotations

import contextlib
import ctypes
import encodings.cp437 as zip_names
import os
import resource
import sys
from typing import Any

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
NO_NEW_PRIVILEGES = 38
MEMORY = 2**31  # bytes besides four times the file
SECONDS = 15  # of computing, and one more for each
BYTES_A_SECOND = 2**24  # of the file
NEEDED = (zip_names,)  # imported on demand otherwise, when nothing can be imported any more
HARMLESS = {"cpython._PySys_ClearAuditHooks", "sys.excepthook", "sys.unraisablehook"}
FORBIDDEN = 4  # exit status when something was tried that reading tensors does not need


def cut_off() -> None:
    """Leave the network where the system lets a process do so (Linux), and never gain rights; else do nothing."""
    try:
        system = ctypes.CDLL(None)
        system.unshare(CLONE_NEWUSER | CLONE_NEWNET)
        system.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    except (AttributeError, OSError):
        return


def lock(size: int) -> None:
    """Bound memory and time, and end whatever would open, start, import or reach anything from here on."""
    wanted = {
        "RLIMIT_AS": MEMORY + 4 * size,
        "RLIMIT_CPU": SECONDS + size // BYTES_A_SECOND,
        "RLIMIT_FSIZE": 2 * size + 2**20,
        "RLIMIT_CORE": 0,
    }
    for name, value in wanted.items():
        limit = getattr(resource, name)
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS does not take every limit
            resource.setrlimit(limit, (value, value))

    def refuse(event: str, _: Any) -> None:
        if event not in HARMLESS:
            os._exit(FORBIDDEN)

    sys.addaudithook(refuse)
