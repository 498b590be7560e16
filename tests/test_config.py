"""Configuration: the quick and the paper grid are accepted; what can't be is named, with what is allowed."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from prunelib.config import VALUES, load, read
from prunelib.errors import ConfigError
from prunelib.expand import expanded
from prunelib.recipes import ClassifyRecipe
from prunelib.runs import Grid

ROOT = Path(__file__).parents[1]

SMALL: dict[str, Any] = {
    "data": {"photo": {"source": "photo", "name": "astronaut", "side": 32}, "digits": {"source": "digits"}},
    "tasks": {
        "denoise": {"kind": "denoise", "data": "photo", "sigma": 0.1},
        "classify": {"kind": "classify", "data": "digits"},
    },
    "models": {"hourglass": {"builder": "hourglass", "channels": [4, 4]}, "net": {"builder": "resnet_small"}},
    "methods": {"gumbel": {"uses": "gumbel", "steps": 3}, "imp": {"uses": "imp", "rounds": 3}},
    "recipes": {"fit": {"loop": "fit_image", "steps": 5}, "train": {"loop": "classify", "epochs": 1}},
    "grid": {
        "oes": [
            {"tasks": ["denoise"], "models": ["hourglass"], "methods": ["dense"], "recipe": "fit"},
            {
                "tasks": ["denoise"],
                "models": ["hourglass"],
                "methods": ["gumbel", "imp"],
                "budgets": ["density0.1"],
                "recipe": "fit",
            },
        ],
        "expanders": [
            {
                "tasks": ["classify"],
                "models": ["net"],
                "methods": ["expander"],
                "budgets": ["degree3"],
                "recipe": "train",
            }
        ],
    },
}

# One fault each: where it is put, the value, and words its error must contain (the place first).
FAULTS = [
    ("sedes", [0], ["sedes", "unknown key", "Did you mean 'seeds'"]),
    ("mode", "stubb", ["mode", "'stubb'", "'real' or 'stub'"]),
    ("threads", 0, ["threads", "0", "greater than or equal to 1"]),
    ("threads", "two", ["threads", "'two'", "integer"]),
    ("seeds", [], ["seeds", "at least 1 item"]),
    ("batch", 0, ["batch.mask", "greater than or equal to 1"]),
    ("batch", {"find_mask": 2}, ["batch.find_mask", "'mask', 'graph'"]),
    ("methods.gumbel", {"uses": "ising"}, ["grid.oes.1.methods", "'gumbel' is of stage training", "oes: none, mask."]),
    ("seeds", [-1], ["seeds.0", "-1", "greater than or equal to 0"]),
    ("data.photo.source", "foto", ["data.photo.source", "'foto'", "Did you mean 'photo'"]),
    ("data.photo.size", 32, ["data.photo.size", "unknown option", "Did you mean 'side'"]),
    ("data.photo.side", "big", ["data.photo.side", "'big'", "Count"]),
    ("tasks.denoise.sigma", -0.1, ["tasks.denoise.sigma", "-0.1", "greater than 0"]),
    ("tasks.denoise.data", "foto", ["foto", "Did you mean 'photo'"]),
    ("tasks.denoise.kind", "denoize", ["tasks.denoise.kind", "Did you mean 'denoise'"]),
    ("models.net.builder", "resnet_smal", ["models.net.builder", "Did you mean 'resnet_small'"]),
    ("models.hourglass.channels", [4, 0], ["models.hourglass.channels", "greater than or equal to 1"]),
    ("methods.gumbel.lr", "fast", ["methods.gumbel.lr", "'fast'", "Positive"]),
    ("methods.gumbel.step", 3, ["methods.gumbel.step", "unknown option", "Did you mean 'steps'"]),
    ("methods.gumbel", {"uses": "ising", "energy": "marginn"}, ["methods.gumbel.energy", "Did you mean 'margin'"]),
    ("methods.gumbel.uses", None, ["methods.gumbel", "needs 'uses'"]),
    ("recipes.fit.lrr", 0.1, ["recipes.fit.lrr", "unknown key", "Did you mean 'lr'"]),
    ("recipes.fit.lr", 0, ["recipes.fit.lr", "greater than 0"]),
    ("recipes.fit.average_from", 6, ["recipes.fit", "average_from: got 6", "ends at step 5"]),
    ("recipes.fit.weight_noise", -1, ["recipes.fit.weight_noise", "greater than or equal to 0"]),
    ("recipes.train.optimizer", "sgdd", ["recipes.train.optimizer", "'sgdd'", "'adadelta'"]),
    ("recipes.train.transform", {"autto": "rand-m9"}, ["recipes.train.transform.autto", "Did you mean 'auto'"]),
    ("recipes.train.transform", {"scale": [1.0, 0.1]}, ["recipes.train.transform", "scale: got [1.0, 0.1]"]),
    ("recipes.train.mix", {"mixup": 0.0}, ["recipes.train.mix", "mixup and cutmix are both 0"]),
    ("recipes.train.micro_batch", 48, ["recipes.train", "micro_batch: got 48", "divide batch_size, 128"]),
    ("recipes.train.repeats", 3, ["recipes.train", "repeats: got 3", "set transform or augment"]),
    ("recipes.train.distill", {"teacher": "nett"}, ["recipes.train.distill.teacher", "Did you mean 'net'"]),
    ("recipes.train.distill", {"teacher": "net", "run": "dens"}, ["its teacher is", "/net/dens/full/seed"]),
    ("recipes.fit.loop", "fit", ["recipes.fit", "fit_image"]),
    ("grid.oes.1.budgets", ["density1.5"], ["grid.oes.1.budgets", "density1.5", "0 < density <= 1"]),
    ("grid.oes.1.budgets", ["density0"], ["grid.oes.1.budgets", "density0", "0 < density <= 1"]),
    ("grid.oes.1.budgets", ["dnsity0.1"], ["grid.oes.1.budgets", "dnsity0.1", "density (a fraction"]),
    ("grid.oes.1.budgets", ["degree3"], ["grid.oes.1.budgets", "does not fit method 'gumbel'", "density"]),
    ("grid.expanders.0.budgets", ["degree0"], ["grid.expanders.0.budgets", "degree0", "integer >= 1"]),
    ("grid.expanders.0.budgets", ["degree2.5"], ["grid.expanders.0.budgets", "degree2.5", "integer >= 1"]),
    ("grid.oes.0.methods", ["dens"], ["grid.oes.0.methods", "'dens'", "Did you mean 'dense'"]),
    ("grid.oes.0.models", ["net"], ["grid.oes.0.models", "'net' is a classifier"]),
    ("grid.oes.0.recipe", "train", ["grid.oes.0.recipe", "needs fit_image"]),
    ("grid.oes.0.tasks", ["denoize"], ["grid.oes.0.tasks", "Did you mean 'denoise'"]),
    ("grid.oes.0.modles", ["net"], ["grid.oes.0.modles", "Did you mean 'models'"]),
    ("grid.eos", [], ["grid", "eos"]),
]


def with_fault(path: str, value: object) -> dict[str, Any]:
    """Return the small configuration with one value replaced or added."""
    raw = copy.deepcopy(SMALL)
    *parents, last = path.split(".")
    target: Any = raw
    for part in parents:
        target = target[int(part)] if part.isdigit() else target[part]
    target[last] = value
    return raw


def test_small_grid_has_the_expected_runs() -> None:
    grid = Grid(load(SMALL))
    paths = [run.path for run in grid.runs]
    assert len(paths) == 2 * (1 + 1 + 4) + 2  # dense, gumbel, imp's chain of four; expander: two seeds each
    assert "oes/denoise/hourglass/imp/density0.2154/seed1" in paths


@pytest.mark.parametrize(("path", "value", "words"), FAULTS, ids=[f"{path}={value}" for path, value, _ in FAULTS])
def test_fault_is_named(path: str, value: object, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Grid(load(with_fault(path, value)))
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize("file", ["config.yaml", "config/paper.yaml"])
def test_shipped_configuration_is_possible(file: str) -> None:
    grid = Grid(load(yaml.safe_load((ROOT / file).read_text())))
    assert {"oes", "expanders", "isomorphic", "ising"} <= {run.paper for run in grid.runs}


@pytest.mark.slow
def test_the_papers_grids_may_be_written_out_by_a_program(tmp_path: Path) -> None:
    """Without short forms and with 50 seeds; and with a block for every run."""
    raw = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    plans, long = Grid(load(raw)), expanded(raw)
    seeded = {part: [{**block, "seeds": list(range(50))} for block in blocks] for part, blocks in long["grid"].items()}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(long | {"grid": seeded}))
    assert len(Grid(load(read(path))).runs) > 70_000
    single: dict[str, list[dict[str, Any]]] = {part: [] for part in long["grid"]}
    for run in plans.runs:
        lists = {"tasks": [run.task], "models": [run.model], "methods": [run.method], "budgets": [run.budget]}
        single[run.paper].append({**lists, "seeds": [run.seed], "recipe": plans.plan(run).recipe})
    path.write_text(yaml.safe_dump({"grid": single}))
    assert path.stat().st_size > 600_000 and read(path) == {"grid": single}


def test_a_configuration_of_values_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"a: [{'1,' * VALUES}]")
    with pytest.raises(ConfigError, match=r"a\.yaml.*values; write lists"):
        read(tmp_path / "a.yaml")


def test_recipe_defaults_are_the_only_defaults() -> None:
    settings = load(SMALL)
    assert settings.recipes["train"] == ClassifyRecipe(loop="classify", epochs=1)


def test_two_recipes_for_one_run_are_refused() -> None:
    raw = copy.deepcopy(SMALL)
    raw["recipes"]["fit2"] = {"loop": "fit_image", "steps": 6}
    raw["grid"]["oes"].append({**raw["grid"]["oes"][0], "recipe": "fit2"})
    with pytest.raises(ConfigError, match="planned twice"):
        Grid(load(raw))


def test_missing_parent_is_refused() -> None:
    raw = copy.deepcopy(SMALL)
    raw["methods"]["moved"] = {"uses": "transfer", "of": "gumbel", "from_task": "elsewhere"}
    raw["tasks"]["elsewhere"] = {"kind": "denoise", "data": "photo"}
    raw["grid"]["oes"].append({**raw["grid"]["oes"][1], "methods": ["moved"]})
    with pytest.raises(ConfigError, match=r"starts from oes/elsewhere/hourglass/gumbel/density0\.1/seed1"):
        Grid(load(raw))


def test_import_is_light() -> None:
    """Importing the package, its configuration, runs and plan must not import torch, pandas or h5py."""
    code = "import sys, prunelib.workflow.plan; print(sorted({'torch', 'pandas', 'h5py', 'numpy'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
