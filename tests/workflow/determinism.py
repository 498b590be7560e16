"""What docs/determinism.md promises: bits where it says bits, tolerances where it says tolerances, and the option."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prunelib.report.page.build import TEMPLATES
from prunelib.workflow.records import read
from prunelib.workflow.step import import_for
from tests.workflow.harness import ROOT, Asked, Tree

RUN = "oes/denoise/hourglass/gumbel/density0.5/seed0"
MASK, TRAIN = Asked("mask", RUN), Asked("train", RUN)


def prepared(tree: Tree, *jobs: Asked) -> Tree:
    """Import what jobs need here, not in every process."""
    for asked in jobs:
        script, given = tree.prepare(asked)
        import_for(script, given.params["work"]["runs"])
    return tree


def spy(work: Callable[[], None]) -> Callable[[], None]:
    """Return what makes a training begin with some work of ours."""

    def patch() -> None:
        from prunelib.training import run

        train = run._train

        def spied(*arguments: Any) -> Any:
            work()
            return train(*arguments)

        run._train = spied

    return patch


def flags() -> None:
    """Write what torch has been told."""
    strict = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    Path("flags.json").write_text(json.dumps([*strict, *cudnn]))


@pytest.mark.parametrize("given", [True, "true", False, "false", None])
def test_the_option_reaches_torch_and_the_records(given: bool | str | None, tmp_path: Path) -> None:
    tree = prepared(Tree(tmp_path, **({} if given is None else {"deterministic": given})), MASK, TRAIN)
    for asked in (Asked("data", "photo"), MASK):
        assert tree.do(asked) == 0, tree.said()
    assert tree.do(TRAIN, spy(flags)) == 0, tree.said()
    wanted = given in (True, "true")
    assert json.loads((tmp_path / "flags.json").read_text()) == [wanted, False, wanted, False]
    for asked in (MASK, TRAIN):
        record = read(tmp_path / "results" / "runs" / RUN / f"{asked.kind}.provenance.json")
        assert record["execution"]["deterministic"] is record["machine"]["deterministic"] is wanted


def test_an_operation_without_such_a_kernel_is_a_clear_error(tmp_path: Path) -> None:
    def scatter() -> None:
        torch.zeros(3).put_(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))

    tree = prepared(Tree(tmp_path, deterministic=True), MASK, TRAIN)
    for asked in (Asked("data", "photo"), MASK):
        assert tree.do(asked) == 0, tree.said()
    assert tree.do(TRAIN, spy(scatter)) == 1
    assert "deterministic: put_ does not have a deterministic implementation" in tree.said()
    assert "Leave deterministic out, or take device: cpu" in tree.said()


GRAPH, CLASSIFY = "expanders/classify/vgg/expander/degree2/seed0", "ising/classify/resnet/dense/full/seed0"
DENOISE = "oes/denoise/hourglass/imp/full/seed0"
JOBS = [Asked("graph", GRAPH), *(Asked("train", run) for run in (GRAPH, CLASSIFY, DENOISE))]
DECIBELS, POINTS = 1.0, 2.0  # how far a short training may end from the same one with other threads


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tree]:
    """The same runs with one thread, with two, and with two again."""
    found = {}
    for name, threads in {"one": 1, "two": 2, "again": 2}.items():
        tree = found[name] = prepared(Tree(tmp_path_factory.mktemp(name)), *JOBS)
        for asked in (Asked("data", "digits"), Asked("data", "photo"), *JOBS):
            assert tree.do(asked, lambda threads=threads: torch.set_num_threads(threads)) == 0, tree.said()
    return found


def metrics(tree: Tree, run: str) -> dict[str, Any]:
    record = json.loads((tree.directory / "results" / "runs" / run / "metrics.json").read_text())
    return {**record["metrics"], "threads": record["provenance"]["machine"]["threads"]}


@pytest.mark.slow
def test_the_same_number_of_threads_gives_the_same_bits(trees: dict[str, Tree]) -> None:
    for asked in JOBS:
        assert trees["two"].contents(asked) == trees["again"].contents(asked)


@pytest.mark.slow
def test_what_is_drawn_is_the_same_bits_with_any_number_of_threads(trees: dict[str, Tree]) -> None:
    for asked in (Asked("data", "digits"), Asked("data", "photo"), JOBS[0]):
        assert trees["one"].contents(asked) == trees["two"].contents(asked)
    assert metrics(trees["one"], DENOISE)["psnr_noisy"] == metrics(trees["two"], DENOISE)["psnr_noisy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "name", "allowed"),
    [(GRAPH, "top1", POINTS / 100), (CLASSIFY, "top1", POINTS / 100), (DENOISE, "psnr_final", DECIBELS)],
)
def test_trained_with_another_number_of_threads_results_are_near(
    trees: dict[str, Tree], run: str, name: str, allowed: float
) -> None:
    one, two = (metrics(trees[tree], run) for tree in ("one", "two"))
    assert (one["threads"], two["threads"]) == (1, 2)
    assert one[name] == pytest.approx(two[name], abs=allowed)


def test_the_documentation_and_the_page_say_what_is_tested() -> None:
    page = (TEMPLATES / "page.html").read_text()
    text = (ROOT / "docs" / "determinism.md").read_text()
    assert f"within {DECIBELS:g} dB and {POINTS:g} points" in text
    for said in ("the same bytes", "0.4 dB", "0.5 points", "not tested"):
        assert said in text and said in page
