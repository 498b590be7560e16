"""Compression in the workflow: whose run it starts from, what it reads, what is not slimmed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from prunelib.errors import ConfigError
from prunelib.runs import Run
from prunelib.workflow.plan import Plan, path
from tests.test_config import SMALL
from tests.workflow.conftest import Checkout

SHARED = {"tasks": ["classify"], "models": ["resnet_small"], "recipe": "train"}


def grid(*blocks: dict[str, Any], of: str = "trained_magnitude") -> dict[str, Any]:
    """A configuration whose ising part has these blocks; ``dc`` compresses runs of the method ``of``."""
    raw = copy.deepcopy(SMALL) | {"seeds": [0]}
    raw["recipes"]["train"] = {"loop": "classify"}
    raw["methods"] |= {"dc": {"uses": "deep_compression", "of": of}}
    raw["methods"] |= {"two-sigma": {"uses": "trained_sensitivity", "sensitivity": 2.0}}
    return raw | {"grid": {"ising": [SHARED | block for block in blocks]}}


def run(method: str, budget: str) -> Run:
    return Run("ising", "classify", "resnet_small", method, budget, 0)


DENSE = {"methods": ["dense"]}
HALF = {"methods": ["trained_magnitude", "dc"], "budgets": ["density0.5"]}


def test_a_compressed_run_starts_from_the_pruned_one_of_its_budget() -> None:
    plan = Plan(grid(DENSE, HALF))
    pruned, compressed = run("trained_magnitude", "density0.5"), run("dc", "density0.5")
    assert plan.grid.parent(compressed) == pruned
    files = plan.inputs_of(compressed, "compress")
    assert (files["start"], files["mask"]) == (path(pruned, "weights.safetensors"), path(pruned, "mask.h5"))
    assert plan.params_of(compressed, "compress")["settings"]["recipe"]["loop"] == "classify"
    assert plan.params_of(compressed, "compress")["settings"]["method"]["options"]["conv_bits"] == 8
    assert [list(job.members) for job in plan.jobs("ising", "compress")] == [[compressed.path.removeprefix("ising/")]]
    done = plan.finished("ising")
    assert path(compressed, "metrics.json") in done and path(compressed, "slim.json") not in done
    assert path(pruned, "slim.json") in done


@pytest.mark.parametrize(("of", "masked"), [("dense", False), ("two-sigma", True), ("ising", True)])
def test_what_keeps_everything_the_energy_alone_and_a_sensitivity_are_compressed_too(of: str, masked: bool) -> None:
    plan = Plan(grid(DENSE, {"methods": ["two-sigma", "ising", "dc"]}, of=of))
    files = plan.inputs_of(run("dc", "full"), "compress")
    assert files["start"] == path(run(of, "full"), "weights.safetensors")
    assert files.get("mask") == (path(run(of, "full"), "mask.h5") if masked else None)


def test_an_energy_that_alone_decides_is_searched_and_slimmed() -> None:
    plan = Plan(grid({"methods": ["ising"]}))
    (found,) = plan.grid.runs
    assert plan.params_of(found, "train")["settings"]["method"]["uses"] == "ising"
    assert path(found, "slim.json") in plan.finished("ising")


def test_a_run_to_compress_must_be_in_the_grid() -> None:
    with pytest.raises(ConfigError, match=r"starts from ising/classify/resnet_small/trained_magnitude/density0\.5"):
        Plan(grid(DENSE, {"methods": ["dc"], "budgets": ["density0.5"]}))
    with pytest.raises(ConfigError, match=r"methods\.dc\.of: 'magnitudes' is not in methods"):
        Plan(grid(DENSE, {"methods": ["dc"], "budgets": ["density0.5"]}, of="magnitudes"))


@pytest.mark.parametrize(
    ("method", "budget"), [("two-sigma", "density0.5"), ("trained_sensitivity", "full")], ids=["both", "neither"]
)
def test_a_sensitivity_or_a_density(method: str, budget: str) -> None:
    with pytest.raises(ConfigError, match=f"methods.{method}: .*sensitivity"):
        Plan(grid(DENSE, {"methods": [method], "budgets": [budget]}))


def test_snakemake_compresses_after_pruning(checkout: Checkout) -> None:
    checkout.write(grid(DENSE, HALF) | {"mode": "stub"})
    planned = {rule: count for rule, count in checkout.planned("ising").items() if rule.startswith("ising_")}
    assert planned == {"ising_mask": 1, "ising_train": 2, "ising_compress": 1, "ising_slim": 1}
    folder = path(run("dc", "density0.5"), "")
    checkout.snakemake(f"{folder}compressed.bin")
    assert (checkout.path / folder / "metrics.json").is_file()
