"""Synthetic result trees, made once per session."""

from __future__ import annotations

import pytest

from tests.report.trees import collected, drawn, write_tree


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """All four papers with three seeds, dead and missing runs: (root, metrics.json paths), collected."""
    root = tmp_path_factory.mktemp("results")
    paths = write_tree(root, range(3))
    collected(root, paths)
    return root, paths


@pytest.fixture(scope="session")
def page(tree):
    """The root of a tree whose figures are drawn and whose page is built."""
    root, paths = tree
    return drawn(root, paths)
