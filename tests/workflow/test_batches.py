"""Many runs in one job: which share one, what they write, and what a failure, death or change of one does to others."""

from __future__ import annotations

import copy
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from prunelib.config import STAGES
from prunelib.runs import Run
from prunelib.workflow.batches import KINDS, OF_PAPER, Deferred
from prunelib.workflow.finished import AGAIN
from prunelib.workflow.plan import Plan
from tests.workflow.harness import CONFIG, Asked, Tree, told

HOURGLASS = "oes/denoise/hourglass"
OTHERS = ("results/data/", "results/pretrained/", "results/statistics/")  # which jobs that have no run make
MASKS = [f"{HOURGLASS}/{method}/density0.5/seed0" for method in ("covering", "gumbel")]


def plan_of(batch: Any, **changes: Any) -> Plan:
    return Plan(yaml.safe_load(CONFIG.read_text()) | {"batch": batch} | changes)


def all_jobs(plan: Plan):
    jobs = [job for paper, kinds in OF_PAPER.items() for kind in kinds for job in plan.jobs(paper, kind)]
    return [(job, value) for job in jobs for value in job.members]


def wildcards(job: Any, value: str) -> Any:
    return type("Wildcards", (), {"where": value, "run": value})


@pytest.mark.parametrize(
    ("file", "batch"),
    [("config.yaml", 1), ("config.yaml", 3), ("config.yaml", {"train": 2}), ("config/paper.yaml", None)],
)
def test_every_job_of_every_run_is_in_exactly_one_batch_and_none_waits_for_itself(file: str, batch: Any) -> None:
    raw = yaml.safe_load((Path(__file__).parents[2] / file).read_text())
    plan = Plan(raw if batch is None else raw | {"batch": batch})
    makers: dict[str, tuple[str, str]] = {}
    for job, value in all_jobs(plan):
        for pattern in job.outputs:
            path = pattern.format(where=value, run=value)
            assert path not in makers
            makers[path] = job.name, value
            rule = re.escape(pattern).replace(r"\{where\}", "(.*)").replace(r"\{run\}", "(.*)")
            (found,) = re.fullmatch(rule, path).groups()
            assert re.fullmatch(next(iter(job.constraints.values())), found)
    assert {f"results/runs/{run.path}/metrics.json" for run in plan.grid.runs} <= set(makers)
    needs = {}
    for job, value in all_jobs(plan):
        size = len(job.of(wildcards(job, value)))
        assert size <= plan.settings.batched(job.label) and job.batched == (size > 1)
        inputs = job.inputs(wildcards(job, value))
        needs[job.name, value] = {makers[file] for file in inputs if file in makers}
        assert not [file for file in inputs if file not in makers and not file.startswith(OTHERS)], "nothing makes it"
    done: set[tuple[str, str]] = set()
    while len(done) < len(needs):
        free = {job for job, before in needs.items() if job not in done and before <= done}
        assert free, "batches wait for each other"
        done |= free


def test_kinds_are_batched_apart_and_short_jobs_of_the_paper_grid_are() -> None:
    plan = plan_of({"mask": 2})
    assert {job.label for job, _ in all_jobs(plan) if job.batched} == {"mask"}
    plan = Plan(yaml.safe_load((Path(__file__).parents[2] / "config" / "paper.yaml").read_text()))
    sizes = {kind: [len(job.members[value]) for job, value in all_jobs(plan) if job.label == kind] for kind in KINDS}
    assert sum(map(len, sizes.values())) < 0.8 * sum(map(sum, sizes.values()))
    short = {"graph", "diagnose", "slim", "prune"}
    assert {kind for kind, found in sizes.items() if max(found, default=1) > 1} == short
    assert not [kind for kind in short if max(sizes[kind]) > plan.settings.batched(kind)]


def test_every_part_has_jobs_for_the_stages_that_it_takes_and_no_others() -> None:
    makers = {"mask": {"mask", "graph"}, "structure": {"prune"}, "training": {"search"}, "compress": {"compress"}}
    for paper, kinds in OF_PAPER.items():
        assert {stage for stage, making in makers.items() if making & set(kinds)} == set(STAGES[paper]) - {"none"}


def test_a_pattern_fits_its_runs_and_no_others() -> None:
    plan = plan_of(1)
    (job,) = plan.jobs("oes", "mask")
    pattern = job.constraints["run"]
    assert all(re.fullmatch(pattern, value) for value in job.members)
    for other in ("denoise/hourglass/imp/full/seed0", "denoise/hourglass/gumbel/density0.5/seed1", "denoise/hourglass"):
        assert not re.fullmatch(pattern, other)


def test_a_digest_changes_with_what_a_job_depends_on_and_nothing_else() -> None:
    def digests(raw: dict[str, Any]) -> dict[str, str]:
        return {f"{job.name} {value}": job.digest(wildcards(job, value)) for job, value in all_jobs(Plan(raw))}

    raw = yaml.safe_load(CONFIG.read_text())
    before = digests(raw)
    changed = copy.deepcopy(raw)
    changed["methods"]["gumbel"]["steps"] = 21
    after = digests(changed)
    jobs = {"oes_mask", "oes_slim"}  # what the two are told names the method; what is trained follows from the mask
    gumbel = {f"{job} denoise/hourglass/gumbel/density0.5/seed0" for job in jobs}
    assert {name for name in before if before[name] != after[name]} == gumbel
    changed = copy.deepcopy(raw)
    changed["recipes"]["fit"]["steps"] = 21
    after = digests(changed)
    assert {name.split()[0] for name in before if before[name] != after[name]} == {"oes_train"}


def test_snakemake_neither_compares_nor_keeps_what_is_deferred() -> None:
    from snakemake.persistence import UNREPRESENTABLE, PersistenceBase

    assert PersistenceBase._serialize_param_builtin(None, Deferred(dict)) is UNREPRESENTABLE


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Two mask searches as two jobs."""
    tree = Tree(tmp_path_factory.mktemp("alone"), batch=1)
    for asked in [Asked("data", "photo"), *(Asked("mask", run) for run in MASKS)]:
        assert tree.do(asked) == 0, tree.said()
    return tree


@pytest.fixture
def together(tmp_path: Path) -> Tree:
    """The same two in one job, to be done."""
    raw = yaml.safe_load(CONFIG.read_text())
    block = raw["grid"]["oes"][0] | {"methods": ["covering", "gumbel"]}
    tree = Tree(tmp_path, batch=2, grid=raw["grid"] | {"oes": [block]})
    assert tree.do(Asked("data", "photo")) == 0
    return tree


BATCH = Asked("mask", MASKS[0])


def masks(tree: Tree) -> list[bytes]:
    return [told(tree.directory / "results" / "runs" / run / "mask.h5") for run in MASKS]


def logs(tree: Tree) -> list[str]:
    return [(tree.directory / "results" / "logs" / run / "mask.log").read_text() for run in MASKS]


def test_a_batch_writes_the_bytes_of_single_jobs_in_any_order(alone: Tree, together: Tree, tmp_path: Path) -> None:
    assert together.do(BATCH) == 0, together.said()
    assert masks(together) == masks(alone)
    assert all(f"done   {run}/mask" in together.said() for run in MASKS)
    script, given = together.prepare(BATCH)
    given.params["work"]["runs"].reverse()
    together.prepare = lambda asked: (script, given)
    os.environ[AGAIN] = "1"
    try:
        assert together.do(BATCH) == 0
    finally:
        del os.environ[AGAIN]
    assert masks(together) == masks(alone)
    assert not any("kept:" in log for log in logs(together))


def test_a_process_that_forks_has_one_thread(together: Tree) -> None:
    def check() -> None:
        fork = os.fork

        def checked() -> int:
            assert len(os.listdir("/proc/self/task")) == 1
            return fork()

        os.fork = checked

    assert together.do(BATCH, check) == 0, together.said()


def test_a_run_that_fails_or_dies_neither_stops_nor_undoes_the_others(alone: Tree, together: Tree) -> None:
    for fault in ("raise MemoryError", "os.kill(os.getpid(), 9)"):

        def broken(fault: str = fault) -> None:
            from prunelib.methods import find

            search = find.search

            def failing(task: Any, settings: dict[str, Any], *rest: Any) -> Any:
                if settings["method"]["uses"] == "synflow":
                    exec(fault, {"os": os})
                return search(task, settings, *rest)

            find.search = failing

        assert together.do(BATCH, broken) == 1
        assert f"FAILED {MASKS[0]}/mask" in together.said()
        assert f"done   {MASKS[1]}/mask" in together.said()
        assert not list((together.directory / "results" / "batches").rglob("*.json"))
    assert together.do(BATCH) == 0, together.said()
    assert masks(together) == masks(alone)
    first, second = logs(together)
    assert "kept:" in second and "kept:" not in first


def test_a_killed_batch_goes_on_with_the_run_it_was_at(alone: Tree, together: Tree) -> None:
    process = together.start(BATCH)
    second = together.directory / "results" / "checkpoints" / MASKS[1] / "search" / "state.ckpt"
    while process.is_alive() and not second.exists():
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGTERM)  # its run's process ends with it
    process.join()
    assert process.exitcode == -signal.SIGTERM
    assert together.do(BATCH) == 0, together.said()
    assert masks(together) == masks(alone)
    assert "kept:" in logs(together)[0]


def test_one_changed_run_computes_alone(together: Tree) -> None:
    assert together.do(BATCH) == 0
    changed = copy.deepcopy(together.config)
    changed["methods"]["gumbel"]["steps"] = 12
    other = Tree(together.directory, **changed)
    assert other.do(BATCH) == 0, other.said()
    first, second = logs(other)
    assert "kept:" in first and "kept:" not in second


def test_a_deleted_run_is_made_again_and_a_damaged_copy_is_not_used(together: Tree, monkeypatch) -> None:
    from prunelib.workflow.finished import begin

    assert together.do(BATCH) == 0
    monkeypatch.chdir(together.directory)
    assert together.plan.missing() == []
    runs, finished = Path("results/runs"), Path("results/finished")
    for file in (runs / MASKS[0] / "mask.h5", runs / MASKS[0]):
        file.unlink() if file.is_file() else shutil.rmtree(file)
    assert together.plan.missing() == [str(runs / MASKS[0] / "mask.h5")]
    begin(together.plan)
    assert not (finished / MASKS[0]).exists() and (finished / MASKS[1]).exists()
    assert together.plan.missing() == [], "the batch is no longer said to be whole"
    assert (finished / MASKS[1] / "mask" / "mask.provenance.json").samefile(runs / MASKS[1] / "mask.provenance.json")
    stored = finished / MASKS[1] / "mask" / "mask.h5"
    stored.write_bytes(stored.read_bytes()[:-1])
    assert together.do(BATCH) == 0, together.said()
    assert not any("kept:" in log for log in logs(together))


def test_links_are_copies_where_there_are_none(together: Tree, alone: Tree) -> None:
    def refuse() -> None:
        def link(*arguments: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        os.link = link

    assert together.do(BATCH, refuse) == 0, together.said()
    assert masks(together) == masks(alone)
    for run in MASKS:
        assert (together.directory / "results" / "runs" / run / "mask.h5").stat().st_nlink == 1


def test_names_of_runs_are_checked_before_a_path_is_made_of_them() -> None:
    from prunelib.errors import ConfigError
    from prunelib.workflow.finished import kept

    with pytest.raises(ConfigError):
        kept("../../etc/passwd/x/y/z/mask", "")
    assert Run.parse(MASKS[0]).path in str(kept(f"{MASKS[0]}/mask", "").directory)
