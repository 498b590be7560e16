"""The compress step of one run: share the weights of a pruned network, train what they share, write a small file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from prunelib import registry
from prunelib.errors import ArtefactError, ConfigError
from prunelib.methods.deep_compression.file import load_compressed, save_compressed, sizes
from prunelib.methods.deep_compression.share import attach_, detach_
from prunelib.storage.checkpoint import Checkpointer
from prunelib.storage.identity import identity
from prunelib.training.classify import evaluate
from prunelib.training.result import Trained
from prunelib.training.run import Opened

FILES = ("data", "start", "mask")


def compress_run(
    settings: Mapping[str, Any],
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    *,
    checkpoints: Path,
    checkpoint_seconds: float,
    device: str,
) -> None:
    """Compress a trained network; write outputs["weights"], ["history"], ["metrics"] and the file ["compressed"].

    ``inputs``: data, start (the trained weights) and, where the network is pruned, mask. The recipe's loop trains the
    shared values and all that is not shared. Weights and metrics are those that the file gives back. Metrics besides
    those of every run: top1_start (as pruned), top1_shared and loss_shared (before the training), and ``sizes``. Raises
    ConfigError for a recipe that needs plain weights, ArtefactError for files that do not fit together.
    """
    recipe = settings["recipe"]
    for key, plain in {"sparse": "off", "enforce": "strict"}.items():
        if recipe[key] != plain:
            raise ConfigError(f"recipe.{key}: got '{recipe[key]}'; shared weights are trained with '{plain}' only.")
    inputs = {name: Path(inputs[name]) for name in FILES if name in inputs}
    checkpointer = Checkpointer(checkpoints, checkpoint_seconds, identity(settings, inputs))
    run = Opened(settings, inputs, device)
    result = _compress(run, outputs["compressed"], checkpointer)
    run.write(outputs, result, checkpointer.spent())
    checkpointer.clear()


def _compress(run: Opened, output: Path, checkpointer: Checkpointer) -> Trained:
    """Take the network through both stages and write the file; a dead network is not trained."""
    model, method = run.model, run.settings["method"]
    before = _scores(run, "start")
    layers = registry.load("method", method["uses"])(model, **method["options"])
    attach_(model, layers)
    before |= _scores(run, "shared")
    result = _train(run, checkpointer) if run.report.alive else Trained({}, {})
    layers = detach_(model, layers)
    state = model.state_dict()
    save_compressed(output, state, layers)
    back = load_compressed(output, state)
    if any(not torch.equal(tensor.cpu(), back[name]) for name, tensor in state.items()):
        raise ArtefactError(f"{output}: does not give back the network it was written from.")
    return replace(result, metrics=result.metrics | before | sizes(output, state, layers))


def _scores(run: Opened, stage: str) -> dict[str, float | None]:
    found = evaluate(run.task, run.model, "test", run.settings["recipe"]["batch_size"])
    return {f"top1_{stage}": found["top1"], f"loss_{stage}": found["loss"]}


def _train(run: Opened, checkpointer: Checkpointer) -> Trained:
    recipe = run.settings["recipe"]
    return registry.load("loop", recipe["loop"])(run.task, run.model, recipe, checkpointer=checkpointer)
