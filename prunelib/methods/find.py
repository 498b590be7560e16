"""The find-a-mask step: run one method on one task, check that the mask leaves a living network, write mask.h5."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunelib import registry
from prunelib.methods.common import Found, as_found
from prunelib.models.build import global_stream
from prunelib.seeds import generator
from prunelib.storage.checkpoint import Checkpointer
from prunelib.storage.files import write_json
from prunelib.storage.identity import identity
from prunelib.tasks.base import Task, alive, open_task


def find_mask(
    settings: Mapping[str, Any],
    data: Path,
    output: Path,
    parent: Path | None,
    device: str,
    checkpoints: Path,
    checkpoint_seconds: float,
    spent: Path | None = None,
) -> None:
    """Find the mask of one run and write it to ``output`` with its search history and liveness report.

    Attributes of the file: method, settings (JSON), budget, seed, density, alive, why, dead_layers (comma-separated),
    figures (JSON). Its bytes depend on the inputs alone. ``parent``: an earlier run's file, for methods that start from
    one; ``checkpoints``: directory of its own, for methods that take long; ``spent``: a JSON file for what varies, the
    wall and CPU seconds (wall_s, cpu_s) that finding the mask took, and the parent's file by its run's path. Raises
    MethodError as the method does.
    """
    inputs = {"data": Path(data)} | ({"parent": Path(parent)} if parent is not None else {})
    checkpointer = Checkpointer(checkpoints, checkpoint_seconds, identity(settings, inputs))
    task = open_task(settings, data, device)
    found = search(task, settings, parent, checkpointer)
    mask, seconds = found.mask, checkpointer.spent()
    report = alive(task, task.build(), mask)
    budget = settings["budget"]
    mask.save(
        output,
        found.history,
        method=settings["method"]["uses"],
        settings=json.dumps(settings, sort_keys=True),
        budget=budget["kind"] if budget["value"] is None else f"{budget['kind']}{budget['value']:.4g}",
        seed=settings["seed"],
        density=mask.density,
        alive=report.alive,
        why=report.why,
        dead_layers=",".join(report.dead_layers),
        figures=json.dumps(found.figures),
    )
    if spent is not None:
        earlier = None if parent is None else "/".join(Path(parent).absolute().parts[-7:])
        write_json(spent, dict(zip(("wall_s", "cpu_s"), seconds, strict=True)) | {"parent": earlier})
    checkpointer.clear()


def search(task: Task, settings: Mapping[str, Any], parent: Path | None, checkpointer: Checkpointer) -> Found:
    """Call the method with its own random stream and options; return its mask, history and figures (maybe empty).

    A method with a ``checkpointer`` argument gets one, and goes on from its newest state.
    """
    method, seed = settings["method"], settings["seed"]
    find = registry.load("method", method["uses"])
    extras: dict[str, Any] = {} if parent is None else {"parent": Path(parent)}
    if "checkpointer" in inspect.signature(find).parameters:
        extras["checkpointer"] = checkpointer
    with global_stream(seed, "search-dropout"):  # a network with dropout draws from torch's own generators
        return as_found(find(task, settings["budget"], generator(seed, "search"), **method["options"], **extras))
