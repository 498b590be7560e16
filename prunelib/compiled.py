"""Loops over arrays that numpy has no words for, compiled by numba. Importing this module imports numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core.registry import cpu_target


def compiled(*fastmath: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function without the global interpreter lock, keeping the code on disk where that is possible.

    ``fastmath``: LLVM's flags for what the compiler may do to floating-point arithmetic; none by default.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        options = {"nogil": True, "fastmath": set(fastmath) or False, "boundscheck": False}
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no directory to write to
            return numba.njit(**options)(function)

    return decorate


def load_compiler() -> None:
    """Load what numba would load at the first call of a compiled function, which takes as long as some runs."""
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
