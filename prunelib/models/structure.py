"""A smaller network on disk: its weights, and a record from which the network is built again without pickle.

The record names the registered builder and options of the original network, the shape of every tensor now, and the head
layout of every attention module. Rebuilding constructs the original and gives its layers the recorded widths.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from prunelib.config import checked_options
from prunelib.errors import ArtefactError, ConfigError, MethodError
from prunelib.models.attention import attentions, set_heads_
from prunelib.models.build import build
from prunelib.models.widths import replace_, settle_
from prunelib.storage.files import read_json, write_json
from prunelib.storage.provenance import versions
from prunelib.storage.weights import load_weights, save_weights

FORMAT = "prunelib-structure-1"
PACKAGES = ("torch", "torchvision", "timm", "torch-pruning")
FIELDS = {"format": str, "model": dict, "facts": dict, "tensors": dict, "heads": dict}


def save_structure(
    model: nn.Module, record: Mapping[str, Any], weights_path: str | Path, record_path: str | Path
) -> None:
    """Write a network's tensors and its record; the same network and record give the same bytes.

    ``record`` holds ``model`` ({"builder", "options"}) and ``facts`` (the builder's other arguments, such as classes)
    of the network this one was made from, and whatever else should stand in the file (plain types).
    """
    state = model.state_dict()
    full = {
        "format": FORMAT,
        "model": record["model"],
        "facts": record["facts"],
        "packages": versions(PACKAGES),
        "tensors": {name: list(tensor.shape) for name, tensor in state.items()},
        "heads": {found.name: [found.heads, found.head_dim] for found in attentions(model)},
        **{key: value for key, value in record.items() if key not in FIELDS},
    }
    save_weights(weights_path, state)
    write_json(record_path, full)


def load_structure(weights_path: str | Path, record_path: str | Path | None = None) -> nn.Module:
    """Build the network that a record describes, with its weights, on the CPU and in training mode.

    record_path: by default the file beside the weights whose name ends in .json.
    Raises ArtefactError when a file is missing, torn or foreign, or when record, weights and builder don't fit.
    """
    where = Path(record_path) if record_path is not None else Path(weights_path).with_suffix(".json")
    record = _checked(read_json(where), where)
    model = _source(record, where)
    state = load_weights(weights_path)
    try:
        _resize_(model, record, state)
        model.load_state_dict(state)
    except (MethodError, ValueError, RuntimeError) as error:
        raise ArtefactError(f"{where}: does not describe the network in {weights_path} ({error}).") from None
    return model


def _checked(record: Any, where: Path) -> dict[str, Any]:
    """Check the record's own form; raises ArtefactError."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ArtefactError(f"{where}: not an architecture record of this version (expected format '{FORMAT}').")
    for name, kind in FIELDS.items():
        if not isinstance(record.get(name), kind):
            raise ArtefactError(f"{where}: '{name}' must be a {kind.__name__}; delete it and run again.")
    shapes = {**record["tensors"], **{f"heads of {name}": layout for name, layout in record["heads"].items()}}
    for name, shape in shapes.items():
        if not isinstance(shape, list) or not all(type(side) is int and side > 0 for side in shape):
            raise ArtefactError(f"{where}: {name} has the shape {shape!r}; a shape is a list of positive integers.")
    return record


def _source(record: Mapping[str, Any], where: Path) -> nn.Module:
    """Build the network the record starts from: only a registered builder, only with options it knows."""
    model, facts = record["model"], record["facts"]
    try:
        options = checked_options("model", model.get("builder"), model.get("options", {}), f"{where}: model")
        if not all(type(value) is int and value > 0 for value in facts.values()):
            raise ConfigError(f"facts {facts!r} are not positive integers")
        return build({"builder": model["builder"], "options": options}, 0, **facts)
    except (ConfigError, AttributeError, TypeError) as error:
        raise ArtefactError(f"{where}: its network can't be built here ({error}).") from None


def _resize_(model: nn.Module, record: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Give every layer the recorded widths, none wider than the builder made it; raises ValueError or MethodError."""
    own = model.state_dict()
    if not own.keys() == record["tensors"].keys() == state.keys():
        differing = sorted((own.keys() ^ record["tensors"].keys()) | (own.keys() ^ state.keys()))
        raise ValueError(f"tensors differ by name: {', '.join(differing[:3])}")
    for name, shape in record["tensors"].items():
        found, given = list(own[name].shape), list(state[name].shape)
        narrower = len(shape) == len(found) and all(new <= old for new, old in zip(shape, found, strict=True))
        if shape != given or not narrower or own[name].dtype != state[name].dtype:
            raise ValueError(f"'{name}' is {shape} in the record, {given} in the weights and {found} before pruning")
        if shape != found:
            path, _, attribute = name.rpartition(".")
            replace_(model.get_submodule(path), attribute, own[name][tuple(slice(side) for side in shape)])
    for module in model.modules():
        settle_(module)
    known = {found.name for found in attentions(model)}
    if known != record["heads"].keys():
        raise ValueError("the record's attention modules are not the network's")
    for name, (heads, head_dim) in record["heads"].items():
        set_heads_(model.get_submodule(name), heads, head_dim)
