"""A smaller network on disk: its weights, and a record from which the network is built again without pickle.

The record names the registered builder and options of the original network, the blocks that are left of it, the shape
of every tensor now, the head layout of every attention module and the rate of every dropout. Rebuilding constructs the
original, leaves out its other blocks and gives its layers the recorded widths.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from prunelib.config import checked_options
from prunelib.errors import ArtefactError, ConfigError, MethodError, brief
from prunelib.models.attention import attentions, set_heads_
from prunelib.models.blocks import drop_rates, keep_blocks_, set_drop_rate_
from prunelib.models.build import NOT_BUILT, Undrawn, build
from prunelib.models.widths import replace_, settle_
from prunelib.storage.files import read_json, write_json
from prunelib.storage.provenance import versions
from prunelib.storage.weights import load_weights, save_weights

FORMAT = "prunelib-structure-2"
SAVED = "saved"  # the builder of networks that were read from such a record
CODE = ("torch", "torchvision", "timm")  # packages whose code the rebuilt network is
PACKAGES = (*CODE, "torch-pruning")
FIELDS = {
    "format": str,
    "model": dict,
    "facts": dict,
    "packages": dict,
    "blocks": dict,
    "tensors": dict,
    "heads": dict,
    "drops": dict,
}


def save_structure(
    model: nn.Module, record: Mapping[str, Any], weights_path: str | Path, record_path: str | Path
) -> None:
    """Write a network's tensors and its record; the same network and record give the same bytes.

    ``record`` holds ``model`` ({"builder", "options"}) and ``facts`` (the builder's other arguments, such as classes)
    of the network this one was made from, ``blocks`` (by name of a list of blocks, the positions of those left in it)
    where blocks were removed, and whatever else should stand in the file (plain types).
    """
    state = model.state_dict()
    full = {
        "format": FORMAT,
        **_origin(record),
        "packages": versions(PACKAGES),
        "tensors": {name: list(tensor.shape) for name, tensor in state.items()},
        "heads": {found.name: [found.heads, found.head_dim] for found in attentions(model)},
        "drops": drop_rates(model),
        **{key: value for key, value in record.items() if key not in FIELDS},
    }
    save_weights(weights_path, state)
    write_json(record_path, full)


def read_record(path: str | Path) -> dict[str, Any]:
    """Read an architecture record; raises ArtefactError when it is missing, torn, foreign or of another version."""
    return _checked(read_json(path), Path(path))


def _origin(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return model, facts and blocks of a record, traced back to a network that stands on no file.

    A network which began as a saved one has that one's origin; a file of first weights is not needed any more.
    """
    blocks = {path: list(kept) for path, kept in record.get("blocks", {}).items()}
    model = {"builder": record["model"]["builder"], "options": dict(record["model"]["options"])}
    if model["builder"] == SAVED:
        inner = read_record(Path(model["options"]["location"]).with_suffix(".json"))
        older = inner["blocks"]
        blocks = older | {
            path: [older[path][at] for at in kept] if path in older else kept for path, kept in blocks.items()
        }
        return {"model": inner["model"], "facts": inner["facts"], "blocks": blocks}
    if "weights" in model["options"]:
        model["options"]["weights"] = None
    return {"model": model, "facts": record["facts"], "blocks": blocks}


def load_structure(weights_path: str | Path, record_path: str | Path | None = None) -> nn.Module:
    """Build the network that a record describes, with its weights, on the CPU and in training mode.

    record_path: by default the file beside the weights whose name ends in .json.
    Raises ArtefactError when a file is missing, torn or foreign, or when record, weights and builder don't fit.
    """
    where = Path(record_path) if record_path is not None else Path(weights_path).with_suffix(".json")
    record = read_record(where)
    model = _source(record, where)
    state = load_weights(weights_path)
    try:
        for path, kept in record["blocks"].items():
            keep_blocks_(model, path, kept)
        _resize_(model, record, state)
        for name, rate in record["drops"].items():
            set_drop_rate_(model, name, rate)
        model.load_state_dict(state)
    except (MethodError, *NOT_BUILT) as error:
        fault = f"{where}: does not describe the network in {weights_path} ({error})."
        raise ArtefactError(fault + _other_versions(record)) from None
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
            raise ArtefactError(
                f"{where}: {name} has the shape {brief(shape)}; a shape is a list of positive integers."
            )
    for name, kept in record["blocks"].items():
        if not isinstance(kept, list) or not all(type(position) is int for position in kept):
            raise ArtefactError(f"{where}: the blocks of {name} are {brief(kept)}; they must be a list of integers.")
    for name, rate in record["drops"].items():
        if type(rate) not in (int, float):
            raise ArtefactError(f"{where}: the drop rate of {name} is {brief(rate)}; it must be a number.")
    _check_versions(record, where)
    return record


def _check_versions(record: Mapping[str, Any], where: Path) -> None:
    """Refuse a record of another major version: its layers may have the same shapes and compute something else."""
    here = versions(CODE)
    for name, version in record["packages"].items():
        if name in here and str(version).partition(".")[0] != here[name].partition(".")[0]:
            raise ArtefactError(
                f"{where}: made with {name} {version}; here is {name} {here[name]}, another major version, whose "
                f"networks of the same name may differ. Install {name} {version}, or make the network again."
            )


def _other_versions(record: Mapping[str, Any]) -> str:
    """Return a hint when the record was made with other versions than those here, or nothing."""
    here, made = versions(CODE), record["packages"]
    found = [
        f"{name} {made[name]} (here {here[name]})" for name in CODE if name in made and made[name] != here.get(name)
    ]
    return f" It was made with {', '.join(found)}." if found else ""


def _source(record: Mapping[str, Any], where: Path) -> nn.Module:
    """Build the network the record starts from: only a registered builder, only with options it knows."""
    model, facts = record["model"], record["facts"]
    try:
        options = checked_options("model", model.get("builder"), model.get("options", {}), f"{where}: model")
        if not all(type(value) is int and value > 0 for value in facts.values()):
            raise ConfigError(f"facts {brief(facts)} are not positive integers")
        if model["builder"] == SAVED or options.get("weights"):
            raise ConfigError("a record stands on no other file")
        with Undrawn():
            return build({"builder": model["builder"], "options": options}, 0, **facts)
    except (ConfigError, *NOT_BUILT) as error:
        raise ArtefactError(f"{where}: its network can't be built here ({error}).") from None


def _resize_(model: nn.Module, record: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Give every layer the recorded widths, none wider than the builder made it; raises ValueError or MethodError."""
    own = model.state_dict()
    known = {found.name for found in attentions(model)}  # told by widths and head counts, which fit until resizing
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
    if known != record["heads"].keys():
        raise ValueError("the record's attention modules are not the network's")
    for name, (heads, head_dim) in record["heads"].items():
        set_heads_(model.get_submodule(name), heads, head_dim)
