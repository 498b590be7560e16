"""The errors a user can cause: each carries one clear paragraph and never needs a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
