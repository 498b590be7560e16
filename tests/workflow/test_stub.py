"""The wiring of the whole quick grid, run by the real Snakemake in stub mode: what runs, what reruns, what does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from prunelib.config import PARTS
from prunelib.workflow.verify import Verifier
from tests.workflow.conftest import ROOT, Checkout

STUB = ("--config", "mode=stub", "batch=1")  # so that jobs can be counted


def edit(path: Path, old: str, new: str) -> None:
    """Replace text that must be there."""
    text = path.read_text()
    assert old in text, f"{path} no longer holds {old!r}"
    path.write_text(text.replace(old, new, 1))


def test_whole_quick_grid_and_every_kind_of_rerun(checkout: Checkout) -> None:
    checkout.take_one_seed()
    checkout.snakemake(*STUB)
    page = checkout.path / "results" / "report" / "index.html"
    assert page.stat().st_size > 1000
    assert {"oes.csv", "expanders.csv", "isomorphic.csv", "ising.csv"} <= set(checkout.results())
    assert not (checkout.path / "results" / "checkpoints").exists()
    assert list(Verifier(checkout.path / "results").findings()) == []
    check_diagnosed(checkout)
    assert "Nothing to be done" in checkout.snakemake(*STUB).stderr
    check_edits(checkout)
    check_deleted_run(checkout)


@pytest.mark.slow
def test_the_whole_paper_grid_can_be_planned(checkout: Checkout) -> None:
    shutil.copy2(ROOT / "config" / "paper.yaml", checkout.path)
    jobs = checkout.planned("--configfile", "paper.yaml")
    assert jobs["build_page"] == 1 and {f"{part}_train" for part in PARTS} <= set(jobs)


def check_diagnosed(checkout: Checkout) -> None:
    """Every mask of the expanders' part is diagnosed, and nothing else."""
    runs = checkout.path / "results" / "runs"
    masks = {file.parent for file in runs.glob("expanders/**/mask.h5")}
    assert masks == {file.parent for file in runs.rglob("diagnostics.json")} != set()
    assert masks == {file.parent for file in runs.rglob("diagnostics.csv")}


def check_edits(checkout: Checkout) -> None:
    """One edit each in a README, a test, a comment, a method, a loop, a config value: exactly the dependent jobs."""
    edit(checkout.path / "README.md", "#", "# A")
    (checkout.path / "tests").mkdir()
    (checkout.path / "tests" / "test_new.py").write_text("def test_new() -> None: ...\n")
    gumbel = checkout.path / "prunelib" / "methods" / "gumbel.py"
    original = gumbel.read_text()
    gumbel.write_text(original + "\n# a comment changes nothing\n")
    assert checkout.planned(*STUB) == {}

    gumbel.write_text(original + "\nUNUSED = 1\n")
    planned = checkout.planned(*STUB)
    assert planned["oes_mask"] == planned["oes_train"] == len(grid_paths(checkout, "oes/", "/gumbel"))
    assert planned["crossover_mask"] == planned["crossover_train"] == len(grid_paths(checkout, "crossover/", "/gumbel"))
    assert not set(planned) & {"prepare_data", "expanders_graph", "expanders_train", "isomorphic_train", "ising_train"}
    gumbel.write_text(original)
    assert checkout.planned(*STUB) == {}

    loop = checkout.path / "prunelib" / "training" / "fit_image.py"
    text = loop.read_text()
    loop.write_text(text + "\nUNUSED = 1\n")
    planned = checkout.planned(*STUB)
    assert planned["oes_train"] == len(grid_paths(checkout, "oes/"))
    assert "expanders_train" not in planned
    loop.write_text(text)

    config = checkout.path / "config.yaml"
    before = config.read_text()
    raw = yaml.safe_load(before)
    raw["methods"]["gumbel"]["steps"] += 1
    config.write_text(yaml.safe_dump(raw))
    changed = [*grid_paths(checkout, "/gumbel/"), *grid_paths(checkout, "/gumbel-from-")]
    assert checkout.planned(*STUB)["oes_mask"] == len(changed)
    config.write_text(before)


def check_deleted_run(checkout: Checkout) -> None:
    """A deleted run comes back, with what depends on it and nothing else."""
    run = grid_paths(checkout, "expanders/", "/rreg/")[0]
    shutil.rmtree(checkout.path / "results" / "runs" / run)
    planned = checkout.planned(*STUB)
    jobs = {rule: count for rule, count in planned.items() if rule.startswith(PARTS)}
    assert jobs == {"expanders_graph": 1, "expanders_diagnose": 1, "expanders_train": 1}
    checkout.snakemake(*STUB)
    assert (checkout.path / "results" / "runs" / run / "metrics.json").exists()
    assert list(Verifier(checkout.path / "results").findings()) == []


def grid_paths(checkout: Checkout, *words: str) -> list[str]:
    """Paths of the quick grid's runs that contain all words."""
    from prunelib.__main__ import read_grid

    return [
        run.path for run in read_grid(checkout.path / "config.yaml").runs if all(word in run.path for word in words)
    ]


def test_one_paper_or_one_file_runs_alone(checkout: Checkout) -> None:
    planned = checkout.planned("expanders", *STUB)
    assert "expanders_train" in planned
    assert "oes_train" not in planned
    run = grid_paths(checkout, "expanders/", "/rreg/")[0]
    assert checkout.planned(f"results/runs/{run}/mask.h5", *STUB) == {"prepare_data": 1, "expanders_graph": 1}


def test_bad_configuration_is_one_paragraph_before_any_job(checkout: Checkout) -> None:
    edit(checkout.path / "config.yaml", "checkpoint_seconds", "chekpoint_seconds")
    done = checkout.snakemake(check=False)
    assert done.returncode != 0
    assert "chekpoint_seconds: unknown key. Did you mean 'checkpoint_seconds'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout.path / "results").exists()
