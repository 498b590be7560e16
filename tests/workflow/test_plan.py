"""The plan: which jobs a run of each kind has, and which files they read."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prunelib.runs import Run
from prunelib.workflow.costs import Costs
from prunelib.workflow.plan import Plan, path
from tests.test_config import SMALL
from tests.workflow.conftest import Checkout


def planned(budget: str, **options: object) -> Plan:
    """The plan of one method on one task."""
    raw = copy.deepcopy(SMALL) | {"seeds": [0]}
    raw["methods"]["m"] = options
    block = {"tasks": ["denoise"], "models": ["hourglass"], "methods": ["m"], "budgets": [budget], "recipe": "fit"}
    return Plan(raw | {"grid": {"oes": [block]}})


def masks(plan: Plan) -> list[str]:
    """The mask files that the training jobs ask for."""
    found = [plan.inputs_of(run, "train").get("mask") for run in plan.grid.of("oes")]
    return [file for file in found if file]


@pytest.mark.parametrize(("fidelity", "jobs"), [("corrected", 13), ("upstream", 14)])
def test_fourteen_rounds_are_fourteen_trainings_and_a_mask_before_each_that_is_pruned(fidelity: str, jobs: int) -> None:
    plan = planned("density0.05498", uses="imp", rounds=13, cut=0.2, fidelity=fidelity)
    assert len(plan.grid.runs) == 14 and len(masks(plan)) == jobs
    first = Run("oes", "denoise", "hourglass", "m", "full", 0)
    assert (path(first, "mask.h5") in masks(plan)) == (fidelity == "upstream")
    assert "parent" not in plan.inputs_of(first, "find_mask")
    second = Run("oes", "denoise", "hourglass", "m", "density0.8", 0)
    assert plan.inputs_of(second, "find_mask")["parent"] == path(first, "weights.safetensors")


def test_a_given_file_is_an_input_of_its_mask(tmp_path: Path) -> None:
    plan = planned("density0.05", uses="given", location=str(tmp_path / "mask.npy"))
    (run,) = plan.grid.runs
    assert plan.inputs_of(run, "find_mask")["given"] == str(tmp_path / "mask.npy")
    assert "given" not in plan.inputs_of(run, "train")


def test_every_mask_of_the_expanders_is_diagnosed_from_its_file_and_nothing_that_trains() -> None:
    raw = copy.deepcopy(SMALL) | {"seeds": [0]}
    blocks = [
        {"methods": ["dense"]},
        {"methods": ["expander", "snip"], "budgets": ["density0.5"]},
    ]
    shared = {"tasks": ["denoise"], "models": ["hourglass"], "recipe": "fit"}
    plan = Plan(raw | {"grid": {"expanders": [shared | block for block in blocks]}})
    done = [file for file in plan.finished("expanders") if file.endswith("diagnostics.json")]
    masked = [run for run in plan.grid.of("expanders") if run.method != "dense"]
    assert done == [path(run, "diagnostics.json") for run in masked] and len(done) == 2
    assert plan.inputs_of(masked[0], "diagnose")["mask"] == path(masked[0], "mask.h5")
    assert plan.params_of(masked[0], "diagnose")["settings"] == plan.params_of(masked[0], "find_mask")["settings"]
    assert plan.resources("diagnose")["gpu"] == 0


def test_snakemake_plans_the_rounds_and_the_transfer_of_their_mask(checkout: Checkout) -> None:
    """Fourteen rounds on one picture; the transfer to another needs the last mask and one training more."""
    raw: dict[str, Any] = copy.deepcopy(SMALL) | {"seeds": [0]}
    raw["methods"]["cut"] = {"uses": "imp", "rounds": 13, "cut": 0.2, "fidelity": "upstream"}
    raw["methods"]["moved"] = {"uses": "transfer", "of": "cut", "from_task": "denoise"}
    raw["tasks"]["again"] = {"kind": "denoise", "data": "photo"}
    block = {"models": ["hourglass"], "budgets": ["density0.05498"], "recipe": "fit"}
    blocks = [{"tasks": ["denoise"], "methods": ["cut"]}, {"tasks": ["again"], "methods": ["moved"]}]
    checkout.write(raw | {"mode": "stub", "grid": {"oes": [block | other for other in blocks]}})
    planned = checkout.planned("oes")
    assert (planned["oes_mask"], planned["oes_train"]) == (15, 15)


def test_networks_of_one_task_and_model_are_measured_in_one_job_dense_ones_first() -> None:
    blocks = [
        {"methods": ["dense"], "recipe": "train"},
        {"methods": ["structural"], "budgets": ["macs0.5"], "recipe": "train"},
    ]
    shared = {"tasks": ["classify"], "models": ["vgg", "resnet_small"], "seeds": [0, 1]}
    raw = copy.deepcopy(SMALL)
    raw["recipes"]["train"] = {"loop": "classify"}
    plan = Plan(raw | {"grid": {"isomorphic": [shared | block for block in blocks]}})
    assert Costs(plan).files() == [f"results/costs/isomorphic/classify/{name}.json" for name in ("resnet_small", "vgg")]
    assert Costs(plan).files("oes") == []
    job = SimpleNamespace(task="classify", model="vgg")
    files, dense = Costs(plan).inputs_of("isomorphic", job), Run("isomorphic", "classify", "vgg", "dense", "full", 1)
    assert files["weights"][1] == path(dense, "weights.safetensors") and len(files["weights"]) == 4
    assert [Path(file).name for file in files["structures"]] == ["pruned.safetensors"] * 2 + ["pruned.json"] * 2
    settings = Costs(plan).params("isomorphic")["settings"](job)
    assert settings.keys() == {"task", "model", "seed"}


PRETRAINED = "results/pretrained/timm/resnet18.tv_in1k.safetensors"


def pretrained() -> dict[str, Any]:
    """A dense and a pruned run of a network that begins with published weights."""
    model = {"builder": "timm", "name": "resnet18.tv_in1k", "weights": PRETRAINED}
    recipe = {"loop": "classify", "epochs": 0}
    shared = {"tasks": ["classify"], "models": ["net"], "recipe": "none"}
    pruned = {"methods": ["structural"], "budgets": ["macs0.5"]}
    return {
        "seeds": [0],
        "data": {"digits": {"source": "digits"}},
        "tasks": {"classify": {"kind": "classify", "data": "digits", "size": 64}},
        "models": {"net": model},
        "recipes": {"none": recipe},
        "grid": {"isomorphic": [shared | {"methods": ["dense"]}, shared | pruned]},
    }


def test_published_weights_are_an_input_of_every_step_that_builds_the_network() -> None:
    plan = Plan(pretrained())
    assert plan.first_weights() == [PRETRAINED]
    for run in plan.grid.runs:
        steps = ("train",) if run.method == "dense" else ("prune_structure", "train")
        assert {plan.inputs_of(run, step)["first_weights"] for step in steps} == {PRETRAINED}


def test_snakemake_fetches_published_weights_once_and_before_the_rest(checkout: Checkout) -> None:
    checkout.write(pretrained())
    assert checkout.planned("data") == {"data": 1, "prepare_data": 1, "first_weights": 1}
    planned = checkout.planned("isomorphic", "--config", "mode=stub")
    assert planned["first_weights"] == 1 and planned["isomorphic_train"] == 2
    checkout.snakemake(PRETRAINED, "--config", "mode=stub")
    assert (checkout.path / PRETRAINED).is_file()


def test_gradients_are_gathered_once_for_all_that_is_pruned_from_one_network() -> None:
    raw = copy.deepcopy(SMALL) | {"seeds": [0, 1]}
    raw["methods"] |= {
        "a": {"uses": "structural", "batches": 3},
        "b": {"uses": "structural", "batches": 3, "criterion": "fisher", "mode": "global"},
        "c": {"uses": "structural", "batches": 4},
        "d": {"uses": "structural", "criterion": "l1"},
    }
    shared = {"tasks": ["classify"], "models": ["resnet_small"], "recipe": "train"}
    pruned = {"methods": ["a", "b", "c", "d"], "budgets": ["macs0.5", "ratio0.3"]}
    plan = Plan(raw | {"grid": {"isomorphic": [shared | {"methods": ["dense"]}, shared | pruned]}})
    asked = {run: plan.inputs_of(run, "prune_structure").get("statistics") for run in plan.grid.of("isomorphic")}
    folder = "results/statistics/isomorphic/classify/resnet_small/seed"
    assert {file for run, file in asked.items() if run.method in "abc"} == {
        f"{folder}{seed}/batches{batches}.safetensors" for seed in (0, 1) for batches in (3, 4)
    }
    assert {file for run, file in asked.items() if run.method in ("d", "dense")} == {None}
    wildcards = SimpleNamespace(task="classify", model="resnet_small", seed="1", batches="3")
    settings = plan.statistics_params()["settings"](wildcards)
    assert settings["batches"] == 3 and settings["seed"] == 1 and settings.keys().isdisjoint({"method", "recipe"})
    dense = Run("isomorphic", "classify", "resnet_small", "dense", "full", 1)
    assert plan.statistics(wildcards)["parent"] == path(dense, "weights.safetensors")


def _taught(**distill: object) -> Plan:
    """The plan of a network that is trained by a recipe with a teacher, and of a dense one of another model."""
    raw = copy.deepcopy(SMALL) | {"seeds": [0], "processes": 4}
    pretrained = {"builder": "timm", "name": "resnet18.tv_in1k", "weights": PRETRAINED}
    raw["models"] |= {"big": {"builder": "resnet_small"}, "pretrained": pretrained}
    taught = {"loop": "classify", "epochs": 1, "batch_size": 64, "micro_batch": 32, "distill": distill}
    raw["recipes"] |= {"taught": taught}
    block = {"tasks": raw["grid"]["expanders"][0]["tasks"], "methods": ["dense"]}
    blocks = [block | {"models": ["net"], "recipe": "taught"}, block | {"models": ["big"], "recipe": "train"}]
    return Plan(raw | {"grid": {"expanders": blocks}})


def test_a_teachers_weights_are_an_input_of_training() -> None:
    plan = _taught(teacher="big", run="dense")
    big, net = plan.grid.runs
    assert plan.inputs_of(net, "train")["teacher"] == path(big, "weights.safetensors")
    assert "teacher" not in plan.inputs_of(big, "train")
    assert plan.params_of(net, "train")["settings"]["recipe"]["distill"]["teacher"]["builder"] == "resnet_small"
    published = _taught(teacher="pretrained")
    _, net = published.grid.runs
    assert published.inputs_of(net, "train")["teacher_first_weights"] == PRETRAINED
    assert published.first_weights() == [PRETRAINED]


def test_a_training_in_parts_asks_for_as_many_threads_as_it_has_processes() -> None:
    plan = _taught(teacher="big", run="dense")  # two parts make a batch, so that two of four processes are used
    assert plan.threads("train") == 2 * plan.threads("find_mask") == 2
    job = SimpleNamespace()  # one that no run's wildcards name
    alone = plan.resources("find_mask")["mem_mb"](job, 1)
    assert alone == plan.resources("train")["mem_mb"](job, 1) / 2 == 2000
