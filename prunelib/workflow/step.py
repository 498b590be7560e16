"""The frame of every step script: log file, threads, lease, stub mode, record, one clear paragraph on a user's error.

A job of single runs or of none works in this process. A batch imports what its runs need and then forks a process for
each of them: none finds anything that another one has left, and none ends with another one.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prunelib.errors import PrunelibError
from prunelib.report.progress import FAILED
from prunelib.storage.files import cache, write_json
from prunelib.storage.identity import digest
from prunelib.storage.lease import Lease
from prunelib.storage.provenance import DETERMINISTIC, code
from prunelib.workflow.digest import SCRIPTS, modules, used_by
from prunelib.workflow.finished import kept
from prunelib.workflow.paths import LOGS, Place
from prunelib.workflow.records import Begun, deterministic, execution, record_of, supersede, write

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
FULL, REFUSED = (errno.ENOSPC, errno.EDQUOT), (errno.EACCES, errno.EPERM, errno.EROFS)
CHECKPOINTS, STAMPS = Path("results/checkpoints"), "results/batches"


@dataclass(frozen=True)
class Step:
    """What a step script works with: named inputs and outputs, settings, where to checkpoint, which device."""

    inputs: dict[str, Path]
    lists: dict[str, list[Path]]
    outputs: dict[str, Path]
    params: dict[str, Any]
    config: dict[str, Any]
    files: tuple[list[Path], list[Path]] = field(default_factory=lambda: ([], []))  # inputs, outputs, named or not

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the run this step belongs to."""
        return self.params["settings"]

    @property
    def device(self) -> str:
        """The configured device: auto, cpu or cuda."""
        return self.config.get("device", "auto")

    @property
    def processes(self) -> int:
        """The configured number of processes of one training."""
        return int(self.config.get("processes", 1))

    @property
    def checkpoints(self) -> Path:
        """Where this run's unfinished work is kept: outside the outputs, which Snakemake deletes when a job fails."""
        run = self.settings["run"]
        return Path(CHECKPOINTS, *(str(run[key]) for key in run if key != "seed"), f"seed{run['seed']}")

    @property
    def checkpoint_seconds(self) -> float:
        """Seconds between checkpoints."""
        return float(self.config.get("checkpoint_seconds", 60.0))


def run(snakemake: Any, main: Callable[[Step], None], stub: bool = True) -> None:
    """Run a step script: ``main`` does the work; with ``mode: stub`` tiny valid outputs stand in for it.

    stub: False for a step that is cheap and needs no torch, so that stub mode exercises the real one.
    """
    log, terminal = Path(str(snakemake.log[0])), os.dup(2)
    try:
        say = _redirect(log, terminal)
    except OSError as error:
        os.write(terminal, f"{explain(error, snakemake.resources)}\n".encode())
        sys.exit(1)
    _tell_libraries(snakemake.config, snakemake.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    stubbed = stub and snakemake.config.get("mode") == "stub"
    at = Place(log)
    work = _Work(main, stubbed, snakemake.config, snakemake.resources, terminal, at, snakemake.threads)
    params = dict(snakemake.params.items())
    todo = params.get("work")
    if todo is None:
        lists = _lists(snakemake.input) | {
            name: list(map(at, files)) for name, files in params.pop("files", {}).items()
        }
        named = _files(snakemake.input), lists, _files(snakemake.output)
        step = Step(*named, params, snakemake.config, (_all(snakemake.input), _all(snakemake.output)))
        good = work.do(step, log, say)
    elif todo["stamp"] is None:
        good = work.do_run(todo["runs"][0], log, say)
    else:
        good = work.do_batch(todo["step"], todo["runs"], say)
        if good:
            write_json(at(todo["stamp"]), {"digest": params["digest"], "runs": [one["name"] for one in todo["runs"]]})
    if not good:
        sys.exit(1)


def _tell_libraries(config: Mapping[str, Any], threads: int) -> None:
    """Set what libraries read from the environment, in this process and those that it starts."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with suppress(RuntimeError):  # there is no home directory
        os.environ.setdefault("MPLCONFIGDIR", str(cache() / "matplotlib"))  # it would write elsewhere in the home
    os.environ.pop(DETERMINISTIC, None)  # the configuration alone decides
    if deterministic(config):
        os.environ[DETERMINISTIC] = "1"


@dataclass
class _Work:
    """What the jobs of one process share."""

    main: Callable[[Step], None]
    stub: bool
    config: dict[str, Any]
    resources: Any
    terminal: int
    at: Place
    threads: int

    def do(self, step: Step, log: Path, say: Callable[[str], None], run: str | None = None) -> bool:
        """Do one step under its lease, that of a run only if its results are not there; say whether it went well."""
        name = log.with_suffix("").relative_to(self.at(LOGS))
        try:
            with Lease(CHECKPOINTS / name.parent, name.name, say=say):
                self._work_alone(step, name.as_posix()) if run is None else self._work_once(step, run)
        except Exception as error:
            traceback.print_exc()
            say(f"{FAILED}{name}\n{explain(error, self.resources)}\nFull log: {log}")
            return False
        finally:
            remove_empty(CHECKPOINTS / name.parent, CHECKPOINTS)
        say(f"done   {name}")
        return True

    def do_run(self, one: Mapping[str, Any], log: Path, say: Callable[[str], None]) -> bool:
        """Do the step of one run."""
        inputs, outputs = ({name: self.at(path) for name, path in one[key].items()} for key in ("inputs", "outputs"))
        return self.do(Step(inputs, {}, outputs, one["params"], self.config), log, say, one["name"])

    def do_batch(self, step: str, runs: list[dict[str, Any]], say: Callable[[str], None]) -> bool:
        """Do the step of each run in a process of its own; a run that fails stops none of the others."""
        if not self.stub:
            import_for(step, runs)
        code()  # asked of git once, not by each of the processes
        good = [self._forked(one, say) for one in runs]
        return all(good)

    def _forked(self, one: Mapping[str, Any], say: Callable[[str], None]) -> bool:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            log, good = self.at(LOGS / f"{one['name']}.log"), False
            try:
                good = self.do_run(one, log, _redirect(log, self.terminal))
            finally:
                sys.stdout.flush()
                os._exit(not good)
        signal.signal(signal.SIGTERM, lambda number, frame: _end(child))
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            cause = f"Its process was ended by signal {os.WTERMSIG(status)} (9: often out of memory)."
            say(f"{FAILED}{one['name']}\n{cause}")
        return status == 0

    def _work(self, step: Step) -> None:
        if not self.stub:
            return self.main(step)
        from prunelib.workflow.stub import write_stubs

        return write_stubs(step)

    def _work_alone(self, step: Step, name: str) -> None:
        """Do the step of a job that belongs to no run, and record it."""
        read, outputs = step.files
        if not outputs:  # draws anew what another job has made and recorded
            return self._work(step)
        files = {*read, *(path for paths in step.lists.values() for path in paths)}
        begun = Begun(self.at, sorted(path for path in files if STAMPS not in path.as_posix()))
        self._work(step)
        inputs = {self.at.name(path): found for path, found in begun.digests.items()}
        facts = self._facts(name, digest([step.params, inputs]))
        record = begun.record(facts, step.params, {path: path for path in outputs})
        write(record_of(outputs), record)
        return supersede(record_of(outputs), record)

    def _work_once(self, step: Step, name: str) -> None:
        begun = Begun(self.at, step.inputs.values())
        inputs = {name: begun.digests[path] for name, path in step.inputs.items()}
        made = kept(name, digest([step.params, inputs]))
        if made.adopt(step.outputs, begun.parents):
            print("kept: these results were made before, with the same settings, code and inputs")
            return
        staged = made.begin(step.outputs)
        self._work(replace(step, outputs=staged))
        places = {path: staged[name] for name, path in step.outputs.items()}
        made.finish(step.outputs, begun.record(self._facts(name, made.identity), step.params, places))

    def _facts(self, name: str, identity: str) -> dict[str, Any]:
        """Say for the record which job this is and how it is executed; Snakemake puts a word before a script's name."""
        script = Path(self.main.__code__.co_filename).stem.rpartition(".")[2]
        stub = self.config.get("mode") == "stub"
        known = {"job": name, "step": script, "stub": stub, "identity": identity}
        return known | {"execution": execution(self.config, self.threads)}


def import_for(step: str, runs: list[dict[str, Any]]) -> None:
    """Import the modules that a step's script and what its runs name need, before there is a process for each run."""
    uses = {use for one in runs for use in used_by(one["params"]["settings"], step)}
    for module in modules(SCRIPTS / f"{step}.py", uses):
        importlib.import_module(module)
    if (loops := sys.modules.get("prunelib.compiled")) is not None:
        loops.load_compiler()


def _end(child: int) -> None:
    """End the process of a run, and this one as SIGTERM would."""
    os.kill(child, signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def remove_empty(directory: Path, top: Path) -> None:
    """Remove a directory and those above it up to ``top``, as far as nothing is in them."""
    with suppress(OSError):
        while directory.is_relative_to(top):
            if directory.exists():
                directory.rmdir()
            directory = directory.parent


def explain(error: Exception, resources: Any) -> str:
    """Return one paragraph on why a step failed: a user's error in its own words, anything else by its type."""
    if isinstance(error, PrunelibError):
        return f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        return f"Out of memory: raise mem_mb above {resources.get('mem_mb')} for this rule."
    if isinstance(error, OSError) and (error.errno in FULL or "errno = 28" in str(error)):  # as HDF5 says it
        return f"The disk is full ({error.filename or ''}). Nothing half-written is left; free space and run again."
    if "does not have a deterministic implementation" in str(error):
        return f"deterministic: {error.args[0].split('. ')[0]}. Leave deterministic out, or take device: cpu."
    if isinstance(error, OSError) and error.errno in REFUSED:
        return f"{error.filename}: can't be written to ({error.strerror}). Nothing is lost; allow it and run again."
    return f"Unexpected {type(error).__name__}: {error}"


def _redirect(log: Path, terminal: int) -> Callable[[str], None]:
    """Send all that this process and its libraries print to the log file; return a way to still speak to the user."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    sys.stdout.reconfigure(line_buffering=True)

    def say(text: str) -> None:
        print(text)
        os.write(terminal, f"{text}\n".encode())

    return say


def _files(files: Any) -> dict[str, Path]:
    """Return a job's named single files."""
    return {name: Path(value) for name, value in files.items() if isinstance(value, str)}


def _all(files: Any) -> list[Path]:
    """Return all of a job's files, named or not."""
    return [Path(file) for file in files]


def _lists(files: Any) -> dict[str, list[Path]]:
    """Return a job's named lists of files."""
    return {name: [Path(file) for file in value] for name, value in files.items() if not isinstance(value, str)}
