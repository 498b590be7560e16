"""Runs and budgets: path <-> identity is one to one, chains and parents are exact."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.config import PARTS, load
from prunelib.errors import ConfigError
from prunelib.recipes import FitRecipe
from prunelib.runs import Budget, Grid, Run
from tests.test_config import SMALL

labels = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,30}\Z")
fractions = st.floats(1e-6, 1.0, exclude_min=False)
budgets = st.one_of(
    st.just(Budget("full")),
    st.builds(Budget, st.just("density"), fractions),
    st.builds(Budget, st.sampled_from(["macs", "parameters", "latency"]), fractions),
    st.builds(Budget, st.just("ratio"), st.floats(1e-6, 0.9999)),
    st.builds(Budget, st.just("gmacs"), st.floats(1e-3, 1e3)),
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


def cutting(budget: str, **options: object) -> Grid:
    """The grid of one method that cuts its weights in rounds, and of another that takes its last mask elsewhere."""
    raw = copy.deepcopy(SMALL)
    raw["methods"]["cut"] = {"uses": "imp"} | options
    raw["methods"]["moved"] = {"uses": "transfer", "of": "cut", "from_task": "denoise"}
    raw["tasks"]["again"] = {"kind": "denoise", "data": "photo"}
    block = {"models": ["hourglass"], "budgets": [budget], "recipe": "fit"}
    blocks = [{"tasks": ["denoise"], "methods": ["cut"]}, {"tasks": ["again"], "methods": ["moved"]}]
    return Grid(load(raw | {"grid": {"oes": [block | other for other in blocks]}}))


@pytest.mark.parametrize(
    ("rounds", "cut", "budgets"),
    [
        (2, 0.8, ["full", "density0.2", "density0.04"]),
        (13, 0.2, [
            "full", "density0.8", "density0.64", "density0.512", "density0.4096", "density0.3277", "density0.2621",
            "density0.2097", "density0.1678", "density0.1342", "density0.1074", "density0.0859", "density0.06872",
            "density0.05498",
        ]),
    ],
)  # fmt: skip
def test_cuts_of_a_share_are_a_chain_of_runs(rounds: int, cut: float, budgets: list[str]) -> None:
    grid = cutting(budgets[-1], rounds=rounds, cut=cut, fidelity="upstream")
    runs = [Run("oes", "denoise", "hourglass", "cut", budget, 1) for budget in budgets]
    assert [run for run in sorted(grid.runs) if run.method == "cut" and run.seed == 1] == sorted(runs)
    assert [grid.parent(run) for run in runs] == [None, *runs[:-1]]
    last = Run("oes", "again", "hourglass", "moved", budgets[-1], 0)
    assert grid.parent(last) == runs[-1]


@pytest.mark.parametrize("budget", ["density0.05", "density0.64", "density0.8"])
def test_the_budget_of_cuts_must_be_what_they_leave(budget: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"'{budget}' is not what .* 13 cuts of 0\.2 leave .* Allowed: density0\.05498"
    ):
        cutting(budget, rounds=13, cut=0.2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fidelity": "upstream"}, "Set cut"),
        ({"cut": 1.0}, "0 < cut < 1"),
        ({"cut": 0.2, "fidelity": "upstream", "prune": "weights"}, "'prune' says weights"),
    ],
)
def test_options_that_contradict_are_found_before_any_job(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"methods\.cut: .*{words}"):
        cutting("density0.512", rounds=3, **options)


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
