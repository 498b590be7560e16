"""Runs and budgets: path <-> identity is one to one, chains and parents are exact."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.config import PARTS, FitRecipe, load
from prunelib.errors import ConfigError
from prunelib.runs import Budget, Grid, Run
from tests.test_config import SMALL

labels = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,30}\Z")
fractions = st.floats(1e-6, 1.0, exclude_min=False)
budgets = st.one_of(
    st.just(Budget("full")),
    st.builds(Budget, st.just("density"), fractions),
    st.builds(Budget, st.just("macs"), fractions),
    st.builds(Budget, st.just("degree"), st.integers(1, 4096).map(float)),
)


@settings(deadline=None)
@given(st.sampled_from(PARTS), labels, labels, labels, budgets, st.integers(0, 10**9))
def test_path_and_back(paper: str, task: str, model: str, method: str, budget: Budget, seed: int) -> None:
    run = Run(paper, task, model, method, budget.label, seed)
    assert Run.parse(run.path) == run
    assert not any(part in ("", ".", "..") for part in run.path.split("/"))


@settings(deadline=None)
@given(budgets)
def test_budget_label_is_stable_and_close(budget: Budget) -> None:
    again = Budget.parse(budget.label)
    assert again.label == budget.label
    assert again.kind == budget.kind
    if budget.value is not None:
        assert again.value == pytest.approx(budget.value, rel=5e-4)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_run_or_a_clear_error(text: str) -> None:
    try:
        assert Run.parse(text).path == text.strip("/")
    except ConfigError as error:
        assert len(str(error).splitlines()) <= text.count("\n") + 40


@pytest.mark.parametrize(
    "path", ["", "oes", "../../etc/passwd/x/full/seed0", "oes/a/b/c/full/seed01", "oes/a/b/c/density0.10/seed0"]
)
def test_foreign_paths_are_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        Run.parse(path)


def test_imp_is_a_chain_of_runs_from_dense_to_its_density() -> None:
    grid = Grid(load(SMALL))
    run = Run("oes", "denoise", "hourglass", "imp", "density0.1", 0)
    chain = [run]
    while parent := grid.parent(chain[-1]):
        chain.append(parent)
    assert [member.budget for member in chain] == ["density0.1", "density0.2154", "density0.4642", "full"]


def test_description_is_plain_and_complete() -> None:
    grid = Grid(load(SMALL))
    described = grid.describe(Run("oes", "denoise", "hourglass", "gumbel", "density0.1", 1))
    assert described["method"]["uses"] == "gumbel"
    assert described["method"]["options"]["steps"] == 3
    assert described["budget"] == {"kind": "density", "value": 0.1}
    assert described["recipe"] == FitRecipe(loop="fit_image", steps=5).model_dump()
    assert described["recipe"].items() >= {"loop": "fit_image", "lr": 0.01, "steps": 5, "log_every": 50}.items()
    assert described["seed"] == 1


def test_a_transferred_mask_is_another_seeds() -> None:
    raw = copy.deepcopy(SMALL)
    raw["methods"]["moved"] = {"uses": "transfer", "of": "gumbel", "from_task": "denoise"}
    raw["tasks"]["again"] = {"kind": "denoise", "data": "photo"}
    raw["grid"]["oes"].append({**raw["grid"]["oes"][1], "tasks": ["again"], "methods": ["moved"]})
    parent = Grid(load(raw)).parent(Run("oes", "again", "hourglass", "moved", "density0.1", 1))
    assert parent == Run("oes", "denoise", "hourglass", "gumbel", "density0.1", 0)
