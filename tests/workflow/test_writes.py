"""Nothing is written outside results/, data/, the cache and the temporary directory: steps of many kinds, watched.

An audit hook sees what Python opens, makes, moves, links and removes, in the processes that a step forks too. What
libraries write behind Python's back would lie in the home directory or where they work: both are looked at.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.iocontainers import Namedlist

from prunelib.workflow.step import import_for
from tests.workflow.harness import FORK, Asked, Tree

DENOISE, CLASSIFY = "oes/denoise/hourglass", "classify/resnet"
JOBS = (
    Asked("data", "photo"),
    Asked("data", "digits"),
    Asked("mask", f"{DENOISE}/gumbel/density0.5/seed0"),
    Asked("train", f"{DENOISE}/gumbel/density0.5/seed0"),
    Asked("slim", f"{DENOISE}/gumbel/density0.5/seed0"),
    Asked("graph", "expanders/classify/vgg/expander/degree2/seed0"),
    Asked("diagnose", "expanders/classify/vgg/expander/degree2/seed0"),
    Asked("train", "expanders/classify/vgg/expander/degree2/seed0"),
    Asked("train", f"isomorphic/{CLASSIFY}/dense/full/seed0"),
    Asked("statistics", f"isomorphic/{CLASSIFY}/dense/full/seed0"),
    Asked("prune", f"isomorphic/{CLASSIFY}/isomorphic/macs0.5/seed0"),
    Asked("search", f"ising/{CLASSIFY}/margin/density0.5/seed0"),
)
MADE = ("all_runs", "summary", "claims", "modes", "scorecard", "scorecard_points", "findings")
FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# What changes files: where among the arguments their paths are, and the open directories these may be relative to.
CHANGES: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.utime": ((0, 3),),
    "sqlite3.connect": ((0, None),),
}
STARTED = {"git", "fc-list"}  # programs that a step may start, to ask for the commit of the code and for fonts
REACHED = {"socket.connect", "socket.bind", "os.system", "os.posix_spawn"}


def watch(allowed: list[Path], notes: Path) -> None:
    """Note whatever this process and its children do to files elsewhere, and whom they reach."""
    handle = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    roots = [str(path.resolve()) for path in allowed]

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path = given[0]
            named = (given[2] or 0) & FLAGS and not isinstance(path, int)
            paths = [os.path.realpath(os.fsdecode(path))] if named else []
        elif event in CHANGES:
            paths = [place(given[path], given[base] if base else -1) for path, base in CHANGES[event]]
        else:
            program = os.path.basename(os.fsdecode(given[0])) if event == "subprocess.Popen" else None
            bad = event in REACHED or (program is not None and program not in STARTED)
            paths = [f"! {given[0]}"] if bad else []
        for path in paths:
            if not fine(path):
                os.write(handle, f"{event} {path}\n".encode())

    def place(path: Any, folder: int) -> str:
        base = os.getcwd() if folder < 0 else os.readlink(f"/proc/self/fd/{folder}")
        path = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fsdecode(path)
        head, tail = os.path.split(os.path.join(base, path))
        return os.path.join(os.path.realpath(head), tail)

    def fine(path: str) -> bool:
        inside = any(path == root or path.startswith(root + os.sep) for root in roots)
        return inside or path == os.devnull or "__pycache__" in path  # Python's and numba's own, of what is imported

    sys.addaudithook(hook)


class Watched(Tree):
    """A tree whose jobs are watched; ``home`` is the home directory of theirs."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        """Make the places where a job may write."""
        super().__init__(directory / "work", **changes)
        self.home, self.notes = directory / "home", directory / "notes"
        for name in ("work/results", "work/data", "home", "cache", "tmp"):
            (directory / name).mkdir(parents=True)
        self.notes.touch()
        work = self.directory
        self.allowed = [work / "results", work / "data", work / "said", directory / "cache", directory / "tmp"]

    def arm(self) -> None:
        """Begin to watch the process of a job."""
        os.environ |= {"HOME": str(self.home), "TMPDIR": str(self.allowed[4]), "PRUNELIB_CACHE": str(self.allowed[3])}
        tempfile.tempdir = None
        for name in [name for name in os.environ if name.startswith(("XDG_", "MPLCONFIG"))]:
            del os.environ[name]
        watch(self.allowed, self.notes)

    def strange(self) -> list[str]:
        """What was noted, and what lies in the home directory or where the jobs work without being noted."""
        found = [f"home {path}" for path in self.home.rglob("*")]
        others = [path for path in self.directory.iterdir() if path.name not in ("results", "data", "said")]
        found += [f"left {path}" for path in others]
        return [*self.notes.read_text().splitlines(), *found]


class Reporting(Watched):
    """The same for the steps of the report, which are asked for by the name of their script."""

    def prepare(self, asked: Asked) -> tuple[str, Any]:
        """Return a job's script and the object that Snakemake gives it."""
        if asked.kind != "report":
            return super().prepare(asked)
        tables, runtimes = "results/tables", "results/provenance/runtimes.csv"
        inputs: dict[str, Any] = {"runs": f"{tables}/all_runs.csv", "scorecard": f"{tables}/scorecard.csv"}
        files, outputs, params = {}, {}, {"missing": [], "names": [*self.plan.parts(), "claims"], "scale": "smoke"}
        if asked.run == "collect":
            inputs, files = {}, {"metrics": self.there("metrics.json"), "costs": [], "reference": []}
            outputs = {name: f"{tables}/{name}.csv" for name in MADE}
            outputs |= {name: f"results/provenance/{name}.csv" for name in ("runtimes", "times")}
        elif asked.run == "draw_figures":
            names = ("histories", "masks", "reference", "structures", "recorded", "maps", "diagnostics")
            files = {name: [] for name in names} | {
                "histories": self.there("history.h5"),
                "maps": self.there("mask.h5"),
            }
            params["directory"] = "results/figures"
        elif asked.run == "build_page":
            inputs["runtimes"] = runtimes
            figures = [f"results/figures/{name}.png" for name in self.plan.figures()]
            files = {"figures": figures, "benchmarks": [], "reference": []}
            outputs = {"page": "results/report/index.html"}
        given = {
            "input": Namedlist(fromdict=inputs),
            "output": Namedlist(fromdict=outputs),
            "params": params | {"files": files},
            "config": self.config,
        }
        log = [f"results/logs/report/{asked.run}.log"]
        return asked.run, SimpleNamespace(**given, log=log, threads=1, resources={"mem_mb": 2000})

    def there(self, name: str) -> list[str]:
        """The runs' files of one name."""
        return [path for path in self.plan.files(name) if (self.directory / path).exists()]


@pytest.mark.slow
def test_steps_write_only_where_they_may(tmp_path: Path) -> None:
    tree = Reporting(tmp_path)
    for asked in JOBS:
        if asked.kind not in ("data", "statistics"):
            script, given = tree.prepare(asked)
            import_for(script, given.params["work"]["runs"])
    report = [Asked("report", name) for name in ("collect", "write_tables", "draw_figures", "build_page")]
    for asked in [*JOBS, *report]:
        assert tree.do(asked, tree.arm) == 0, tree.said()
    assert tree.strange() == []
    assert (tree.directory / "results" / "report" / "index.html").stat().st_size > 10_000
    assert len(list((tree.directory / "results" / "runs").rglob("metrics.json"))) >= 3


def noted(folder: Path, deed: Callable[[Path], Any]) -> set[str]:
    """Do something in a watched process that works in ``folder``/work; return what kinds of things were noted."""
    tree = Watched(folder)

    def work() -> None:
        os.chdir(tree.directory)
        tree.arm()
        deed(folder)

    process = FORK.Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == 0
    return {line.split(" ")[0] for line in tree.strange()}


@pytest.mark.parametrize(
    ("deed", "found"),
    [
        (lambda folder: Path("results/a").write_text("x"), ""),
        (lambda folder: os.replace(Path("data/a").touch() or "data/a", "results/b"), ""),
        (lambda folder: tempfile.TemporaryDirectory().cleanup(), ""),
        (lambda folder: Path(__file__).read_bytes(), ""),
        (lambda folder: subprocess.run(["git", "--version"], check=True), ""),
        (lambda folder: Path("a").write_text("x"), "open left"),
        (lambda folder: Path("results/../a").mkdir(), "os.mkdir left"),
        (lambda folder: (folder / "a").write_text("x"), "open"),
        (lambda folder: os.replace(Path("data/a").touch() or "data/a", folder / "a"), "os.rename"),
        (lambda folder: os.link(Path("data/a").touch() or "data/a", "a"), "os.link left"),
        (lambda folder: os.symlink("/", folder / "a"), "os.symlink"),
        (lambda folder: os.symlink(folder, "data/a") or Path("data/a/b").write_text("x"), "open"),
        (lambda folder: os.rmdir("results/../../home"), "os.rmdir"),
        (lambda folder: (Path.home() / ".cache").mkdir(), "os.mkdir home"),
        (lambda folder: subprocess.run([sys.executable, "-c", ""], check=True), "subprocess.Popen"),
        (lambda folder: subprocess.run(["touch", "a"], check=True), "subprocess.Popen left"),
        (lambda folder: os.waitpid(os.fork() or in_child(), 0), "open left"),
    ],
)
def test_what_is_written_elsewhere_is_noted(deed: Callable[[Path], Any], found: str, tmp_path: Path) -> None:
    assert noted(tmp_path, deed) == set(found.split())


def in_child() -> None:
    """Write beside the results and end."""
    Path("a").write_text("x")
    os._exit(0)
