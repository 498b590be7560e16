"""The train step of one run: open, build, prune, check, train, measure, write; nothing else knows the whole of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunelib import registry
from prunelib.compact.shrink import Shrunk, shrunk
from prunelib.compact.size import mask_sizes, structure_sizes
from prunelib.compact.sparse.network import densify, sparsify
from prunelib.errors import ArtefactError, ConfigError, MethodError
from prunelib.masks.liveness import Liveness
from prunelib.masks.mask import Mask, read_figures
from prunelib.measure.cost import parameters
from prunelib.methods.callbacks import Callback
from prunelib.models.build import build
from prunelib.models.structure import load_structure
from prunelib.recipes import useful_processes
from prunelib.runs import Run
from prunelib.seeds import generator
from prunelib.storage.checkpoint import Checkpointer
from prunelib.storage.files import write_json
from prunelib.storage.hdf5 import save_history
from prunelib.storage.identity import identity
from prunelib.storage.provenance import peak_memory_mb, provenance
from prunelib.storage.weights import load_weights, save_weights
from prunelib.tasks.base import Task, alive, facts, open_task
from prunelib.tasks.classify import Classify
from prunelib.training.distributed import current, launch
from prunelib.training.evaluate import evaluate
from prunelib.training.fan import effective_fan_
from prunelib.training.result import Trained

ALIVE = Liveness(True, "", [])
log = logging.getLogger(__name__)


def train_run(
    settings: Mapping[str, Any],
    data: Path,
    outputs: Mapping[str, Path],
    *,
    mask: Path | None,
    start: Path | None,
    structure: Path | None,
    teacher: Path | None = None,
    checkpoints: Path,
    checkpoint_seconds: float,
    device: str,
    processes: int = 1,
) -> None:
    """Train one run from its files; write outputs["weights"], ["history"], ["metrics"] and, where asked for, ["mask"].

    ``mask``: mask.h5 to enforce, whose figures become metrics (search_...) and what repaired it a text; ``start``:
    weights to begin from instead of initial ones; ``structure``: weights of a smaller network, its record beside them
    as .json; ``teacher``: weights of the network to distil. A mask that leaves a dead network is not trained: status
    "dead", the cause, untrained weights and an empty history. Training whose recipe has a micro_batch uses up to
    ``processes`` (prunelib.training.distributed). Raises ArtefactError for files that do not fit together.
    """
    inputs = {"data": data, "mask": mask, "start": start, "structure": structure, "teacher": teacher}
    if (wanted := useful_processes(settings["recipe"], processes)) > 1:
        files = {name: None if path is None else str(path) for name, path in inputs.items()}
        places = {"outputs": {name: str(path) for name, path in outputs.items()}, "checkpoints": str(checkpoints)}
        rest = {"checkpoint_seconds": checkpoint_seconds, "device": device}
        return launch({"settings": dict(settings), **files, **places, **rest}, wanted)
    inputs = {name: Path(path) for name, path in inputs.items() if path is not None}
    checkpointer = Checkpointer(checkpoints, checkpoint_seconds, identity(settings, inputs))
    run = Opened(settings, inputs, device)
    result = _train(run, checkpointer) if run.report.alive else Trained({}, {})
    if current().leads:
        run.write(outputs, result, checkpointer.spent())
        checkpointer.clear()
    return None


class Opened:
    """A run's task, mask and model with its first weights, and whether they live; ``write`` is its end."""

    def __init__(self, settings: Mapping[str, Any], inputs: Mapping[str, Path], device: str) -> None:
        """Open the files named "data" and, where the run has them, "mask", "start", "structure", "teacher"."""
        self.settings, self.inputs = settings, inputs
        self.task = open_task(settings, inputs["data"], device)
        self.mask = Mask.load(inputs["mask"]) if "mask" in inputs else None
        self.figures = read_figures(inputs["mask"]) if "mask" in inputs else {}
        enforced = self.mask if settings["recipe"].get("enforce", "strict") == "strict" else None
        self.model = _model(self.task, inputs, enforced, settings["recipe"].get("init") == "effective_fan")
        self.report = alive(self.task, self.model, enforced) if enforced is not None else ALIVE

    def write(self, outputs: Mapping[str, Path], result: Trained, spent: tuple[float, float], beside: int = 1) -> None:
        """Measure the trained model and write every declared output, metrics last.

        ``spent``: wall and CPU seconds; ``beside``: how many runs shared the process, each with its part of the time.
        """
        settings, mask = self.settings, result.mask if self.mask is None else self.mask
        metrics = _sizes(self.task, self.model, mask, self.report.alive) | result.metrics
        metrics |= {f"search_{name}": value for name, value in self.figures.items() if not isinstance(value, str)}
        record = {
            "run": {**settings["run"], "path": Run(**settings["run"]).path},
            "status": "ok" if self.report.alive else "dead",
            "why": self.report.why,
            "repaired": self.figures.get("repaired", ""),
            "scale": settings["scale"],
            "arithmetic": "bfloat16" if settings["recipe"].get("amp") == "bf16" else "float32",
            "facts": facts(self.task, settings["model"]["builder"]),
            "input": list(self.task.example.shape[1:]),
            "settings": {name: value for name, value in settings.items() if name not in ("run", "scale")},
            "metrics": {name: _finite(value) for name, value in metrics.items()},
            "timing": _timing(spent, beside, result, self.task.device),
            "provenance": provenance(self.inputs),
        }
        save_weights(outputs["weights"], self.model.state_dict())
        save_history(outputs["history"], result.columns, result.images)
        if "mask" in outputs and result.mask is not None:
            result.mask.save(outputs["mask"], seed=settings["run"]["seed"], density=result.mask.density)
        write_json(outputs["metrics"], record)


def _model(task: Task, inputs: Mapping[str, Path], mask: Mask | None, rescale: bool) -> nn.Module:
    """Return the network a run begins with: initial or given weights or a smaller network, pruned by the mask.

    ``rescale``: initial weights are of the effective fan; raises ConfigError for weights that are not initial ones.
    """
    if rescale and inputs.keys() & {"start", "structure"}:
        raise ConfigError("recipe.init: effective_fan is for initial weights; this run starts from trained ones.")
    if "structure" in inputs:
        return load_structure(inputs["structure"]).to(task.device)
    model = task.build()
    if "start" in inputs:
        try:
            model.load_state_dict(load_weights(inputs["start"]))
        except RuntimeError as error:
            raise ArtefactError(f"{inputs['start']}: not weights of this run's model ({error}).") from None
    if mask is not None:
        mask.apply_(model)
        if rescale:
            effective_fan_(model, mask)
    return model


def _train(run: Opened, checkpointer: Checkpointer) -> Trained:
    """Run the recipe's loop; ``compact`` runs it on a smaller network whose values are put back into ``model``.

    ``sparse`` replaces the masked layers of ``model`` while the loop runs; after it weights have their shapes again.
    Of a classifier that begins with trained weights, top1_start is the accuracy before it.
    """
    task, model, mask, recipe = run.task, run.model, run.mask, run.settings["recipe"]
    callback, before = _callback(run.settings, task), {}
    if isinstance(task, Classify) and run.inputs.keys() & {"start", "structure"}:
        before["top1_start"] = evaluate(task, model, "test", recipe["batch_size"])["top1"]
    extras: dict[str, Any] = {} if callback is None else {"callback": callback}
    if recipe.get("distill"):
        extras["teacher"] = _teacher(task, recipe["distill"], run.inputs.get("teacher"))
    loop = registry.load("loop", recipe["loop"])
    small = _smaller(task, model, mask) if recipe.get("compact") and mask is not None else None
    network, enforced = (small.network, small.mask) if small else (model, mask)
    if mask is not None and recipe.get("sparse") == "auto" and isinstance(task, Classify):
        batch, _ = next(task.fold("train", recipe["batch_size"]))
        _, enforced = sparsify(network, mask, batch)
    result = loop(task, network, recipe, mask=enforced, checkpointer=checkpointer, **extras)
    densify(network)
    if small:
        small.write_back_(model)
    return replace(result, metrics=result.metrics | before)


def _teacher(task: Task, distill: Mapping[str, Any], weights: Path | None) -> nn.Module:
    """Return the network to distil, with the weights of its run or those its builder brings.

    Raises ConfigError for one that has neither, ArtefactError for weights that are not its own.
    """
    model = distill["teacher"]
    options = model["options"]
    if weights is None and not (options.get("weights") or options.get("location")):
        raise ConfigError("recipe.distill: its teacher is untrained; give the model weights, or name the run it is of.")
    teacher = build(model, task.seed, **facts(task, model["builder"])).to(task.device)
    if weights is not None:
        try:
            teacher.load_state_dict(load_weights(weights))
        except RuntimeError as error:
            raise ArtefactError(f"{weights}: not weights of the recipe's teacher ({error}).") from None
    return teacher


def _smaller(task: Task, model: nn.Module, mask: Mask) -> Shrunk | None:
    """Return what the mask leaves alive, or None (said in the log) when that is everything or can't be cut out."""
    try:
        small = shrunk(model, mask, task.example)
    except MethodError as error:
        log.warning("trained at full size: %s", error)
        return None
    left = parameters(small.network) if small else "all"
    log.info("trained as a smaller network: %s of %d parameters", left, parameters(model))
    return small


def _callback(settings: Mapping[str, Any], task: Task) -> Callback | None:
    """Make the callback of a method that prunes while training; other runs' settings need not name their method."""
    method = settings.get("method")
    if method is None or registry.entry("method", method["uses"]).facts["stage"] != "training":
        return None
    make = registry.load("method", method["uses"])
    return make(task, settings["budget"], generator(settings["seed"], "search"), **method["options"])


def _sizes(task: Task, model: nn.Module, mask: Mask | None, living: bool) -> dict[str, float | None]:
    dense = task.build()
    if mask is None:
        return structure_sizes(dense, model, task.example)
    return mask_sizes(dense, model, mask, task.example, living)


def _timing(spent: tuple[float, float], beside: int, result: Trained, device: torch.device) -> dict[str, float | None]:
    wall, cpu = (seconds / beside for seconds in spent)
    gpu = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    counts = {"wall_s": wall, "cpu_s": cpu, "steps": result.steps, "step_ms": result.step_ms, "side_by_side": beside}
    counts["processes"] = current().size
    return {**counts, "peak_rss_mb": peak_memory_mb(), "peak_gpu_mb": gpu}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
