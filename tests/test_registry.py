"""The registry: the source is read, not imported; every entry loads and matches its signature."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from prunelib import options, registry
from prunelib.errors import ConfigError

ROOT = Path(__file__).parents[1]
KINDS = ("data", "model", "task", "method", "energy", "family", "loop", "side_rule")
CONFIGURED = ("data", "model", "task", "method")  # the kinds whose keyword-only parameters are options
ALL = [(kind, name) for kind in KINDS for name in registry.names(kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_entries(kind: str) -> None:
    assert registry.names(kind)


@pytest.mark.parametrize(("kind", "name"), ALL, ids=[f"{kind}-{name}" for kind, name in ALL])
def test_entry_matches_what_it_loads(kind: str, name: str) -> None:
    entry = registry.entry(kind, name)
    loaded = entry.load()
    assert entry.summary, f"{kind} {name} needs a one-line docstring: it is shown by python -m prunelib list"
    if kind not in CONFIGURED:
        return
    parameters = inspect.signature(loaded).parameters.values()
    keywords = {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    keywords = {name: p for name, p in keywords.items() if name not in registry.FILES}
    assert set(entry.options) == set(keywords)
    for option_name, option in entry.options.items():
        if not option.required:
            adapter = TypeAdapter(eval(option.annotation, vars(options)))
            assert adapter.validate_python(option.default, strict=True) == keywords[option_name].default


def test_listing_imports_no_torch() -> None:
    code = "import sys; from prunelib import registry; registry.names('method'); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"methods\.x: unknown method 'gumble'\. Did you mean 'gumbel'\?"):
        registry.entry("method", "gumble", "methods.x")
