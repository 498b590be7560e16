"""The errors a user can cause: each carries one clear paragraph and never needs a traceback."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any


class PrunelibError(Exception):
    """Base of every error that bad input can cause: where it is, what was given, what is allowed."""


class ConfigError(PrunelibError):
    """The configuration asks for something unknown or impossible."""


class DataError(PrunelibError):
    """A data set, archive or download is missing, corrupt or unsafe."""


class ArtefactError(PrunelibError):
    """A file written by an earlier step is missing, torn, foreign or of another version."""


class MethodError(PrunelibError):
    """A pruning method can't do what was asked on this model, task or budget."""


class BusyError(PrunelibError):
    """Another pipeline is at work in the same directory."""


class LeaseError(PrunelibError):
    """Another process has taken over the work of this one, which must write nothing more."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return a hint such as " Did you mean 'density'?" for the closest allowed word, or nothing."""
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


class _Brief(reprlib.Repr):
    """Shows a value without writing all of it out, which of hostile ones could take for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = 20
        self.maxlevel, self.maxstring, self.maxother = 4, 200, 200

    def repr_int(self, x: int, level: int) -> str:
        """Show a number; Python refuses to spell out those of thousands of digits."""
        return repr(x) if x.bit_length() < 128 else f"an integer of {x.bit_length()} bits"


def brief(value: Any) -> str:
    """Return ``repr(value)``, cut short where it is long or deep."""
    return _Brief().repr(value)[:500]
