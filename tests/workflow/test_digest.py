"""Code digests: they follow imports, see code and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from prunelib.workflow import digest

FILES = {
    "prunelib/__init__.py": '"""Top."""\n',
    "prunelib/a.py": '"""A."""\nfrom prunelib.b import two\n\n\ndef one():\n    """Say one."""\n    return two() - 1\n',
    "prunelib/b.py": '"""B."""\n\n\ndef two() -> int:\n    return 2  # two\n',
    "prunelib/c.py": '"""C, which nobody imports."""\nTHREE = 3\n',
    "step.py": "def main():\n    from prunelib.a import one\n\n    one()\n",
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(digest, "ROOT", tmp_path)
    yield tmp_path
    forget()


def forget() -> None:
    for function in (digest._digest, digest.closure, digest._read, digest._imports, digest._module_digest):
        function.cache_clear()


def digest_after(tree: Path, file: str, text: str) -> str:
    (tree / file).write_text(text)
    forget()
    return digest.code_digest(tree / "step.py")


def test_closure_follows_imports_inside_functions(tree: Path) -> None:
    forget()
    assert digest.closure(frozenset({"prunelib.a"})) == {"prunelib", "prunelib.a", "prunelib.b"}


def test_code_edits_count_wherever_they_are(tree: Path) -> None:
    forget()
    before = digest.code_digest(tree / "step.py")
    assert digest_after(tree, "prunelib/b.py", FILES["prunelib/b.py"].replace("return 2", "return 3")) != before
    assert digest_after(tree, "prunelib/b.py", FILES["prunelib/b.py"]) == before


def test_comments_docstrings_and_other_modules_do_not_count(tree: Path) -> None:
    forget()
    before = digest.code_digest(tree / "step.py")
    commented = FILES["prunelib/a.py"].replace("Say one.", "Say one, politely.") + "\n# a comment\n"
    assert digest_after(tree, "prunelib/a.py", commented) == before
    assert digest_after(tree, "prunelib/c.py", "THREE = 4\n") == before


def test_real_steps_depend_on_what_they_load() -> None:
    forget()
    scripts = digest.ROOT / "workflow_scripts"
    with_gumbel = digest.code_digest(scripts / "find_mask.py", [("method", "gumbel")])
    assert with_gumbel != digest.code_digest(scripts / "find_mask.py", [("method", "expander")])
    modules = digest.closure(frozenset(digest._imports(scripts / "find_mask.py")))
    assert "prunelib.methods.gumbel" not in modules
    assert "prunelib.masks.mask" in modules
