"""Nothing in the project reads a pickle in a way that could run it: looked for in the source of every module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for part in ("prunelib", "workflow_scripts", "benchmarks") for path in (ROOT / part).rglob("*.py"))
# Subclasses of the unpickler that find no foreign name, and no others.
READERS = {f"prunelib/{name}.py": 1 for name in ("data/pickles", "storage/pickle_reader", "storage/unpickler")}
LOADERS = {
    "pickle.load",
    "pickle.loads",
    "joblib.load",
    "dill.load",
    "dill.loads",
    "torch.hub.load",
    "pandas.read_pickle",
}
LOADERS |= {"pd.read_pickle", "torch.hub.load_state_dict_from_url", "torch.jit.load", "yaml.load", "yaml.unsafe_load"}


def dotted(node: ast.expr) -> str:
    """The name of what is called or subclassed: torch.load."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def risks(text: str) -> list[str]:
    """Every call that may run what it reads."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name, given = dotted(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
        safe = isinstance(given.get("weights_only"), ast.Constant) and given["weights_only"].value is True
        pickled = isinstance(given.get("allow_pickle"), ast.Constant) and given["allow_pickle"].value is True
        if name in LOADERS or (name == "torch.load" and not safe) or (name.endswith((".load", "memmap")) and pickled):
            found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_unpickles(path: Path) -> None:
    text = path.read_text()
    assert risks(text) == []
    subclasses = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
        and any(dotted(base).endswith(("Unpickler", "Careful")) for base in node.bases)
    ]
    assert len(subclasses) == READERS.get(str(path.relative_to(ROOT)), 0)


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("torch.load(f)", 1),
        ("torch.load(f, weights_only=False)", 1),
        ("torch.load(f, weights_only=True)", 0),
        ("pickle.loads(data)", 1),
        ("np.load(f, allow_pickle=True)", 1),
        ("np.load(f)", 0),
        ("yaml.safe_load(f)", 0),
    ],
)
def test_what_is_looked_for_is_found(line: str, count: int) -> None:
    assert len(risks(line)) == count
