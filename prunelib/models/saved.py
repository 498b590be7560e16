"""Networks from files: of a run, of a pruned structure, and a saved structure as a model like any other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from prunelib.errors import ArtefactError, ConfigError
from prunelib.models.build import NOT_BUILT, Undrawn, build
from prunelib.models.structure import load_structure, read_record
from prunelib.registry import register
from prunelib.storage.files import read_json
from prunelib.storage.weights import load_weights

WEIGHTS, METRICS, RECORD = "weights.safetensors", "metrics.json", "pruned.json"


@register("model", "saved")
def saved(classes: int, in_channels: int, *, location: str) -> nn.Module:
    """A network that was saved with its architecture record (pruned, slim), with its weights: ``location`` is theirs.

    Raises ConfigError when it is for other images or classes, ArtefactError as ``load_structure`` does.
    """
    facts = read_record(Path(location).with_suffix(".json"))["facts"]
    wanted = {"classes": classes, "in_channels": in_channels}
    if facts != wanted:
        raise ConfigError(f"model saved: {location} is a network for {_words(facts)}; here are {_words(wanted)}.")
    return load_structure(location)


@dataclass(frozen=True)
class Found:
    """A network's files: its weights, and what describes it: an architecture record, or a run's metrics."""

    weights: Path
    description: Path

    @property
    def facts(self) -> dict[str, Any]:
        """What the description says, as plain types; ``input`` in it is (channels, height, width)."""
        about = read_json(self.description)
        return about if isinstance(about, dict) else {}

    def load(self) -> nn.Module:
        """Build the network at its weights, on the CPU, in evaluation mode; raises ArtefactError."""
        if self.description.name == METRICS:
            return _of_run(self.weights, self.description).eval()
        return load_structure(self.weights, self.description).eval()


def load(path: str | Path) -> nn.Module:
    """Return the trained network of a run, a shrunk model or a saved structure, on the CPU, in evaluation mode.

    ``path``: a run's directory, a weights file (.safetensors), or an architecture record (.json). Nothing but plain
    tensors and JSON is read; a pickle is refused. Raises ArtefactError when there is no network, or no whole one.
    """
    return find(path).load()


def find(path: str | Path) -> Found:
    """Return the files of the network at a path, as for ``load``, unread; raises ArtefactError when there is none."""
    path = Path(path)
    if path.is_dir():
        return _in_directory(path)
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file or directory.")
    if path.suffix not in (".safetensors", ".json"):
        raise ArtefactError(
            f"{path}: only a run's directory, a .safetensors file or its .json record can be loaded. A pickle (.pt, "
            ".pth, .ckpt) may run code of its own when it is read: python -m prunelib convert-pickle takes out its "
            "tensors without that."
        )
    if path.with_suffix(".json").is_file() and path.name != METRICS:
        return Found(path.with_suffix(".safetensors"), path.with_suffix(".json"))
    return _in_directory(path.parent)


def _in_directory(folder: Path) -> Found:
    """Return the network of a run's directory, or the only saved structure in any other."""
    weights, metrics = folder / WEIGHTS, folder / METRICS
    if weights.is_file() and (folder / RECORD).is_file():
        return Found(weights, folder / RECORD)
    if metrics.is_file():
        return Found(weights, metrics)
    found = [weights for weights in sorted(folder.glob("*.safetensors")) if weights.with_suffix(".json").is_file()]
    if len(found) != 1:
        names = ", ".join(weights.name for weights in found) or "none"
        raise ArtefactError(f"{folder}: holds no finished run and not one saved network (found: {names}); name a file.")
    return Found(found[0], found[0].with_suffix(".json"))


def _of_run(weights: Path, metrics: Path) -> nn.Module:
    """Build the network of a run's settings at its trained weights."""
    about = read_json(metrics)
    try:
        with Undrawn():
            model = build(about["settings"]["model"], about["settings"]["seed"], **about["facts"])
    except (ConfigError, *NOT_BUILT) as error:
        raise ArtefactError(f"{metrics}: does not say what network this is ({error}); run it again.") from None
    try:
        model.load_state_dict(load_weights(weights))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()[:300]  # it names every tensor
        raise ArtefactError(f"{weights}: not the weights of the network it was made for ({reason}).") from None
    return model


def _words(facts: dict[str, int]) -> str:
    return f"{facts.get('classes')} classes and {facts.get('in_channels')} channels"
