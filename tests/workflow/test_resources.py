"""What jobs ask for: by the length of their run, by what was measured, more with each attempt, up to a day."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml

from prunelib.runs import Run
from prunelib.workflow import resources
from prunelib.workflow.batches import KINDS
from prunelib.workflow.plan import Plan
from tests.test_config import SMALL
from tests.workflow.harness import CONFIG, Asked, Tree

ROOT = Path(__file__).parents[2]
RUN = Run("expanders", "classify", "net", "dense", "full", 0)


def plan(epochs: int = 2, device: str = "cpu") -> Plan:
    """One classifier, trained for so many epochs."""
    raw: dict[str, Any] = copy.deepcopy(SMALL) | {"seeds": [0], "device": device}
    raw["recipes"]["train"] = {"loop": "classify", "epochs": epochs}
    raw["models"]["net"] = {"builder": "vgg", "plan": [8, "M", 16], "hidden": 16}
    block = {"tasks": ["classify"], "models": ["net"], "methods": ["dense"], "recipe": "train"}
    return Plan(raw | {"grid": {"expanders": [block]}})


def asked(found: Plan, step: str, attempt: int = 1) -> tuple[int, int]:
    """Memory and minutes that a job of the run asks for."""
    of = found.resources(step, lambda wildcards: [RUN])
    return of["mem_mb"](SimpleNamespace(), attempt), of["runtime"](SimpleNamespace(), attempt)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory: nothing has been measured."""
    monkeypatch.chdir(tmp_path)


def measure(seconds: Any, megabytes: Any, found: Plan, kind: str = "train", stub: bool = False) -> None:
    """Leave the record of a job of another seed, as it was planned then."""
    settings = found.params_of(RUN, KINDS[kind].step)["settings"]
    record = {"stub": stub, "settings": {"settings": settings}, "wall_s": seconds, "peak_rss_mb": megabytes}
    folder = Path("results/runs", RUN.path).parent / "seed7"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{kind}.provenance.json").write_text(json.dumps(record))


def test_minutes_follow_the_length_between_half_an_hour_and_a_day() -> None:
    minutes = [asked(plan(epochs), "train")[1] for epochs in (1, 10, 20, 1000)]
    assert minutes == [30, 201, 402, 1440]  # 6.7 minutes an epoch, three times


def test_every_attempt_asks_for_as_much_again() -> None:
    found = plan(10)
    assert [asked(found, "train", attempt) for attempt in (1, 2, 3)] == [(2000, 201), (4000, 402), (6000, 603)]


def test_a_job_that_names_no_run_asks_for_what_its_step_needs() -> None:
    of = plan().resources("report")
    assert (of["mem_mb"](SimpleNamespace(), 1), of["runtime"](SimpleNamespace(), 2), of["gpu"]) == (2000, 60, 0)


def test_runs_that_share_a_job_need_the_memory_of_the_largest_and_the_time_of_all() -> None:
    found = plan(10)
    shared = found.resources("train", lambda wildcards: [RUN] * 4)
    assert (shared["mem_mb"](None, 1), shared["runtime"](None, 1)) == (2000, 804)
    measure(600.0, 2400.0, found)
    for count, minutes in ((1, 30), (4, 120)):  # three times ten minutes each, and no job below half an hour
        shared = plan(10).resources("train", lambda wildcards, count=count: [RUN] * count)
        assert (shared["mem_mb"](None, 1), shared["runtime"](None, 1)) == (4000, minutes)


def test_a_gpu_takes_memory_beside_its_own() -> None:
    found = plan(device="cuda")
    assert found.resources("train")["gpu"] == 1
    assert asked(found, "train")[0] == 2000 + resources.GPU_MB


def test_what_was_measured_counts_when_the_settings_are_the_same() -> None:
    assert asked(plan(200), "train") == (2000, 1440)
    measure(3600.0, 2400.0, plan(200))
    assert asked(plan(200), "train") == (4000, 180)  # three hours; 1.5 x 2400 MB, in steps of 500
    measure(3600.0, 2400.0, plan(2))
    assert asked(plan(200), "train") == (2000, 1440)
    measure(1.0, 50.0, plan(200), stub=True)
    assert asked(plan(200), "train") == (2000, 1440)


def test_a_record_that_is_none_counts_as_nothing() -> None:
    for seconds, megabytes in (("-", 1.0), (1.0, None), ({}, [])):
        measure(seconds, megabytes, plan(20))
        assert asked(plan(20), "train") == (2000, 402)
    Path("results/runs", RUN.path).parent.joinpath("seed7", "train.provenance.json").write_text("[")
    assert asked(plan(20), "train") == (2000, 402)


def test_the_record_that_a_job_leaves_is_understood(tmp_path: Path) -> None:
    """Also of runs that shared a job."""
    raw = yaml.safe_load(CONFIG.read_text())
    block = raw["grid"]["oes"][0] | {"methods": ["covering", "gumbel"]}
    tree = Tree(tmp_path, batch=2, grid=raw["grid"] | {"oes": [block]})
    run = "oes/denoise/hourglass/gumbel/density0.5/seed0"
    assert tree.do(Asked("data", "photo")) == tree.do(Asked("mask", run)) == 0, tree.said()
    record = json.loads((tmp_path / "results/runs" / run / "mask.provenance.json").read_text())
    memory, minutes = tree.plan._resources.of_run("find_mask", Run.parse(run))
    assert minutes == resources.MARGIN * record["wall_s"] / 60 < 30 and memory >= 1.5 * record["peak_rss_mb"] > 100


def test_the_rates_are_the_slowest_of_the_recorded_times() -> None:
    reference = ROOT / "results" / "reference"
    masks = pd.read_csv(reference / "oes-mask-curves" / "times.csv").query("step == 'mask'")
    options = yaml.safe_load((reference / "oes-mask-curves" / "config.yaml").read_text())
    steps = options["methods"]["gumbel"]["steps"]
    assert masks["s"].max() / 60 / steps == pytest.approx(resources.MINUTES_PER_STEP, rel=0.03)
    trained = pd.read_csv(reference / "expanders-cifar" / "times.csv").query("step == 'train'")
    assert trained["s"].max() / 60 / 2 == pytest.approx(resources.MINUTES_PER_EPOCH, rel=0.03)
