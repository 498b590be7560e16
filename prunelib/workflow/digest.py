"""Digest of the code a step uses, so that an edit reruns exactly the jobs that depend on it.

Snakemake notices an edited script but not an edited module. The digest covers every prunelib module that a script
imports, directly or not (imports inside functions too), plus the modules that define the registered things a run names.
Comments, docstrings and formatting do not count: what is hashed is the syntax tree. The frame that runs the steps does
not count either.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from prunelib import registry

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow_scripts"
FRAME = "prunelib.workflow"  # runs the steps but computes nothing: its edits rerun nothing


def code_digest(script: Path, uses: Iterable[tuple[str, str]] = ()) -> str:
    """Return 16 hexadecimal digits for a script and the (kind, name) pairs of the registered things it will load."""
    return _digest(modules(script, uses))


def modules(script: Path, uses: Iterable[tuple[str, str]] = ()) -> frozenset[str]:
    """Return the modules that a script imports itself and those that define what it will load by name."""
    named = {registry.entry(kind, name).module for kind, name in uses}
    return frozenset(named | {name for name in _imports(script) if _path(name)})


@cache
def _digest(modules: frozenset[str]) -> str:
    closed = closure(modules)
    text = "\n".join(f"{module} {_module_digest(module)}" for module in sorted(closed))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def used_by(description: dict[str, Any], step: str) -> list[tuple[str, str]]:
    """List the registered things a step loads; an option named like a registry kind (energy: margin) names one more."""
    uses = [("task", description["task"]["kind"]), ("model", description["model"]["builder"])]
    if step in ("train", "compress"):
        uses.append(("loop", description["recipe"]["loop"]))
        if distill := description["recipe"].get("distill"):
            uses.append(("model", distill["teacher"]["builder"]))
    if method := description.get("method"):
        uses.append(("method", method["uses"]))
        named = {key: value for key, value in method["options"].items() if isinstance(value, str)}
        uses += [(key, value) for key, value in named.items() if value in registry.entries(key)]
    return uses


@cache
def closure(modules: frozenset[str]) -> frozenset[str]:
    """Return the modules and every prunelib module they import, directly or through others."""
    seen: set[str] = set()
    waiting = set(modules)
    while waiting:
        module = waiting.pop()
        if module not in seen and (path := _path(module)):
            seen.add(module)
            waiting |= set(_imports(path)) | {module.rpartition(".")[0]} - {""}
    return frozenset(seen)


def _path(module: str) -> Path | None:
    """Return the file of a prunelib module or package, or None for a name that is neither (an imported function)."""
    base = ROOT.joinpath(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@cache
def _imports(path: Path) -> tuple[str, ...]:
    """List the prunelib names a file imports, anywhere in it; type-checking imports count, they are harmless."""
    return _read(path)[0]


@cache
def _module_digest(module: str) -> str:
    path = _path(module)
    assert path is not None
    return _read(path)[1]


@cache
def _read(path: Path) -> tuple[tuple[str, ...], str]:
    """Return the prunelib names that a file imports, and the digest of its syntax tree without docstrings."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body[0] = ast.Pass()
    names = tuple(name for name in found if name.split(".")[0] == "prunelib" and not name.startswith(FRAME))
    return names, hashlib.sha256(ast.dump(tree).encode()).hexdigest()
