"""What exists, by name: methods, models, data sources, energies ... read from the source, imported only when used.

Writing ``@register("method", "snip", stage="mask")`` above a function is all it takes: the decorator returns the
function unchanged and the *source* is the registry. ``entries`` reads it with ``ast``, so a name, its options and its
facts are known without importing torch (the Snakefile is parsed by every job), and a step's code digest covers just
the modules which define what that step uses.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from prunelib.errors import ConfigError, nearest

PACKAGE = Path(__file__).parent
FILES = ("parent", "statistics")  # arguments of methods that are files of earlier steps
T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """One option: its annotation as written (a name of ``prunelib.options``) and its default, unless it is required."""

    annotation: str
    default: Any
    required: bool


@dataclass(frozen=True)
class Entry:
    """One registered thing: where it is defined, its one-line summary, its facts and its options by name."""

    kind: str
    name: str
    module: str
    symbol: str
    summary: str
    facts: dict[str, Any] = field(hash=False)
    options: dict[str, Option] = field(hash=False)
    arguments: tuple[str, ...] = ()

    def load(self) -> Any:
        """Import the defining module and return the registered object."""
        return getattr(importlib.import_module(self.module), self.symbol)


def register(kind: str, name: str, **facts: object) -> Callable[[T], T]:
    """Mark a function or class as the thing called ``name`` among its ``kind``; facts must be literals."""
    return lambda thing: thing


@cache
def entries(kind: str) -> dict[str, Entry]:
    """Return every registered entry of one kind, by name; a name that is registered twice is an error."""
    found: dict[str, Entry] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for entry in _entries_of(path):
            if entry.kind == kind:
                if entry.name in found:
                    raise ConfigError(
                        f"{entry.module}: {kind} '{entry.name}' already stands in {found[entry.name].module}."
                    )
                found[entry.name] = entry
    return found


def names(kind: str) -> list[str]:
    """Return the sorted names of one kind."""
    return sorted(entries(kind))


def entry(kind: str, name: str, where: str = "") -> Entry:
    """Return one entry; an unknown name raises ConfigError with the allowed names and the nearest one."""
    known = entries(kind)
    if name not in known:
        place = f"{where}: " if where else ""
        raise ConfigError(f"{place}unknown {kind} '{name}'.{nearest(name, known)} Allowed: {', '.join(sorted(known))}.")
    return known[name]


def load(kind: str, name: str) -> Any:
    """Import and return the registered object of one kind and name."""
    return entry(kind, name).load()


@cache
def _entries_of(path: Path) -> tuple[Entry, ...]:
    source = path.read_text(encoding="utf-8")
    if "\n@register(" not in source:
        return ()
    module = ".".join(["prunelib", *path.relative_to(PACKAGE).with_suffix("").parts])
    found = []
    for node in ast.parse(source).body:
        for call in getattr(node, "decorator_list", []):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "register":
                kind, name = (ast.literal_eval(argument) for argument in call.args)
                facts = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
                summary = (ast.get_docstring(node) or "").split("\n")[0]
                found.append(Entry(kind, name, module, node.name, summary, facts, *_signature(node)))
    return tuple(found)


def _signature(node: ast.FunctionDef | ast.ClassDef) -> tuple[dict[str, Option], tuple[str, ...]]:
    """Read the options (keyword-only parameters: what a configuration may set) and the names of the other arguments.

    A keyword-only ``parent`` or ``statistics`` is not an option: it is an earlier step's file, which the workflow
    supplies.
    """
    if isinstance(node, ast.ClassDef):
        inits = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
        if not inits:
            return {}, ()
        node = inits[0]
    pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    options = {argument.arg: _option(argument, default) for argument, default in pairs if argument.arg not in FILES}
    return options, tuple(argument.arg for argument in node.args.args)


def _option(argument: ast.arg, default: ast.expr | None) -> Option:
    annotation = ast.unparse(argument.annotation) if argument.annotation else "object"
    return Option(annotation, None if default is None else ast.literal_eval(default), default is None)
