"""Every fault on every kind of job: the same result as undisturbed, or a clear error and nothing lost.

docs/reliability.md shows the table of ``FAULTS`` and ``JOBS`` with the outcome that each test here asserts.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from prunelib.storage import lease
from prunelib.workflow.step import import_for
from tests.workflow.harness import Asked, Tree, told

torch.set_num_threads(1)
DENOISE, CLASSIFY = "oes/denoise/hourglass", "classify/resnet"
JOBS = {
    "prepare data": Asked("data", "digits"),
    "mask search (Gumbel)": Asked("mask", f"{DENOISE}/gumbel/density0.5/seed0"),
    "mask of a chain (IMP)": Asked("mask", f"{DENOISE}/imp/density0.5/seed0"),
    "graph mask": Asked("graph", "expanders/classify/vgg/expander/degree2/seed0"),
    "diagnose a mask": Asked("diagnose", "expanders/classify/vgg/expander/degree2/seed0"),
    "train, denoise": Asked("train", f"{DENOISE}/gumbel/density0.5/seed0"),
    "train, classify": Asked("train", "expanders/classify/vgg/expander/degree2/seed0"),
    "search while training (Ising)": Asked("search", f"ising/{CLASSIFY}/margin/density0.5/seed0"),
    "share and compress": Asked("compress", f"ising/{CLASSIFY}/compressed/density0.5/seed0"),
    "gather statistics": Asked("statistics", f"isomorphic/{CLASSIFY}/dense/full/seed0"),
    "prune structure": Asked("prune", f"isomorphic/{CLASSIFY}/isomorphic/macs0.5/seed0"),
    "fine-tune": Asked("train", f"isomorphic/{CLASSIFY}/isomorphic/macs0.5/seed0"),
    "slim": Asked("slim", f"{DENOISE}/covering/density0.5/seed0"),
}
SAVING = {
    name: "search" if job.kind == "mask" else ""
    for name, job in JOBS.items()
    if name
    in (
        "mask search (Gumbel)",
        "train, denoise",
        "train, classify",
        "search while training (Ising)",
        "share and compress",
        "fine-tune",
    )
}
ALONE = ("data", "statistics")  # kinds of jobs that belong to no run
SAME, ERROR = "same result", "clear error, nothing lost"
FAULTS = {
    "SIGKILL before a file gets its name (3 random ones)": SAME,
    "SIGKILL at a random moment (twice)": SAME,
    "SIGTERM at a random moment": SAME,
    "newest checkpoint cut off": SAME,
    "a bit of the newest checkpoint flipped": SAME,
    "checkpoint of a run with other settings": SAME,
    "disk full": ERROR,
    "directory not writable": ERROR,
    "clock set back and forth": SAME,
    "two jobs for the same run": SAME,
    "pipeline killed and started again, its job still running": SAME,
}


def table() -> str:
    """The table of docs/reliability.md."""
    rows = [f"| fault | {' | '.join(JOBS)} |", "|---" * (len(JOBS) + 1) + "|"]
    for fault, outcome in FAULTS.items():
        cells = [outcome if "checkpoint" not in fault or name in SAVING else "saves none" for name in JOBS]
        rows.append(f"| {fault} | {' | '.join(cells)} |")
    return "\n".join(rows)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """All jobs done without a fault."""
    tree = Tree(tmp_path_factory.mktemp("whole"))
    dense, imp = f"{CLASSIFY}/dense/full/seed0", f"{DENOISE}/imp/full/seed0"
    magnitude, covering = f"ising/{CLASSIFY}/trained_magnitude/density0.5/seed0", f"{DENOISE}/covering/density0.5/seed0"
    first = [Asked("data", "photo"), Asked("data", "digits"), Asked("train", imp), Asked("mask", covering)]
    first += [Asked("train", covering), Asked("train", f"ising/{dense}"), Asked("train", f"isomorphic/{dense}")]
    first += [Asked("mask", magnitude), Asked("train", magnitude)]
    for asked in JOBS.values():  # all processes begin with what they need, so that a kill costs no imports
        if asked.kind not in ALONE:
            script, given = tree.prepare(asked)
            import_for(script, given.params["work"]["runs"])
    for asked in [*first, *(job for job in JOBS.values() if job not in first)]:
        assert tree.do(asked) == 0, tree.said()
    return tree


@pytest.fixture(params=JOBS, ids=lambda name: name.replace(" ", "-"))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def tree(name: str, whole: Tree, tmp_path: Path) -> Tree:
    """The whole tree without the results of one job."""
    return whole.copy(tmp_path / "tree", JOBS[name])


def check_same(tree: Tree, whole: Tree, job: Asked) -> None:
    """Finish a job; every byte is that of the undisturbed one, and nothing unfinished is left."""
    status = tree.do(job)
    assert status == 0, tree.said()
    assert tree.contents(job) == whole.contents(job)
    assert not list((tree.directory / "results" / "runs").rglob("*.tmp*"))
    assert not (tree.directory / "results" / "checkpoints").exists()


def die_at(count: int) -> Callable[[], None]:
    """Return what makes a process kill itself when it is about to give the count-th file its name."""

    def arm() -> None:
        rename, left = os.replace, [count]

        def replace(*arguments: object) -> None:
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*arguments)

        os.replace = replace

    return arm


def renames(tree: Tree, job: Asked) -> int:
    """How many files a job gives a name."""
    log = tree.directory / "renames"

    def count() -> None:
        rename = os.replace

        def replace(*arguments: object) -> None:
            with open(log, "a") as stream:
                stream.write(".")
            rename(*arguments)

        os.replace = replace

    assert tree.do(job, count) == 0, tree.said()
    return len(log.read_text())


def test_killed_when_a_file_is_about_to_get_its_name(name: str, tree: Tree, whole: Tree, tmp_path: Path) -> None:
    """With states saved all the time, most of these moments are inside the writing of a checkpoint."""
    job = JOBS[name]
    count = renames(whole.copy(tmp_path / "counted", job), job)
    moments = random.Random(name)
    for _ in range(3):
        tree.do(job, die_at(moments.randint(1, max(1, count // 3))))
    check_same(tree, whole, job)


def test_killed_at_random_moments(name: str, tree: Tree, whole: Tree) -> None:
    moments = random.Random(name)
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        process = tree.start(JOBS[name])
        process.join(moments.uniform(0.02, 0.6))
        if process.is_alive():
            os.kill(process.pid, number)
        process.join()
    check_same(tree, whole, JOBS[name])


@pytest.mark.parametrize("name", SAVING, indirect=True)
@pytest.mark.parametrize("damage", ["cut", "bit", "foreign"])
def test_a_damaged_or_foreign_checkpoint_is_refused(name: str, damage: str, tree: Tree, whole: Tree) -> None:
    job = JOBS[name]
    tree.do(job, die_at(6))  # three states are saved, and the newest two are there
    state = tree.directory / "results" / "checkpoints" / job.run / SAVING[name] / "state.ckpt"
    content = bytearray(state.read_bytes())
    if damage == "cut":
        state.write_bytes(content[: len(content) // 2])
    elif damage == "bit":
        content[len(content) // 3] ^= 4
        state.write_bytes(content)
    else:
        from prunelib.storage.checkpoint import Checkpointer

        Checkpointer(state.parent, 0, "another run").save({"epoch": 10_000})
    check_same(tree, whole, job)
    log = next((tree.directory / "results" / "logs" / job.run).glob(f"{job.kind}.log")).read_text()
    assert ("belongs to a run with other settings" if damage == "foreign" else "torn or damaged") in log


@contextmanager
def mounted(*arguments: str, undo: bool = True) -> Iterator[None]:
    """Mount what ``mount`` is told in the block; skip the test where this user may not."""
    if os.geteuid() or subprocess.run(["mount", *arguments], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield
    finally:
        if undo:
            subprocess.run(["umount", arguments[-1]], check=True)


def test_a_full_disk_is_said_and_loses_nothing(name: str, tree: Tree, whole: Tree) -> None:
    """What a job writes comes to lie on a disk with room for half of it."""
    job = JOBS[name]
    place = tree.outputs(job)[0].parent if job.kind in ALONE else tree.directory / "results" / "finished"
    size = sum(path.stat().st_size for path in whole.outputs(job))
    beside = tree.directory / "beside"
    place.rename(beside)
    place.mkdir()
    with mounted("-t", "tmpfs", "-o", f"size={max(4096, size // 2 // 4096 * 4096)}", "tmpfs", str(place)):
        assert tree.do(job) == 1
    assert "The disk is full" in tree.said()
    place.rmdir()
    beside.rename(place)
    check_same(tree, whole, job)


def test_a_directory_that_can_not_be_written_to_is_said_and_loses_nothing(name: str, tree: Tree, whole: Tree) -> None:
    job, place = JOBS[name], str(tree.directory / "results")
    with mounted("--bind", place, place), mounted("-o", "remount,ro,bind", place, undo=False):
        process = tree.start(job, clean=False)
        process.join()
        assert process.exitcode == 1
    assert "can't be written to" in tree.said()
    check_same(tree, whole, job)


def test_clock_set_back_and_forth(name: str, tree: Tree, whole: Tree) -> None:
    job = JOBS[name]

    def jump() -> None:
        true, calls = time.time, [0]

        def clock() -> float:
            calls[0] += 1
            return true() + 86_400 * (-1) ** calls[0]

        time.time = clock

    tree.do(job, lambda: (jump(), die_at(2)()))
    for path in tree.directory.rglob("*.h5"):
        os.utime(path, (time.time() + 86_400,) * 2)
    assert tree.do(job, jump) == 0, tree.said()
    assert tree.contents(job) == whole.contents(job)


def test_two_jobs_for_the_same_run_and_a_restart_beside_an_orphan(name: str, tree: Tree, whole: Tree) -> None:
    """The second start removes the outputs while the first job is at work, as a restarted Snakemake does."""
    job = JOBS[name]

    def slowly() -> None:
        rename = os.replace

        def replace(*arguments: object) -> None:
            time.sleep(0.05)
            rename(*arguments)

        os.replace = replace

    lease.POLL = 0.05
    first = tree.start(job, slowly)
    time.sleep(0.3)
    second = tree.start(job)
    for process in (first, second):
        process.join()
        assert process.exitcode == 0, tree.said()
    assert {path.name: told(path) for path in tree.outputs(job)} == whole.contents(job)
    check_same(tree, whole, job)


def test_the_table_is_that_of_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    assert table() in text
