"""How the published weights of an architecture want their pictures: size, resizing, colour figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from timm.data import resolve_data_config
from torchvision.models import get_model_weights

from prunelib.errors import ConfigError
from prunelib.models.structure import SAVED, read_record

INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocessing:
    """The shorter edge is resized to ``shorter`` pixels, the central side x side is taken, mean and std per channel."""

    side: int
    shorter: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def own_preprocessing(model: Mapping[str, Any]) -> Preprocessing:
    """Return what the weights of ``{"builder": "timm" | "torchvision", "options": {"name": ...}}`` are evaluated with.

    A saved network wants what its origin does. Sources: timm's pretrained_cfg (crop_pct of the side), torchvision's
    transforms of the default weights. Raises ConfigError for networks that come without published weights.
    """
    if model["builder"] == SAVED:
        model = read_record(Path(model["options"]["location"]).with_suffix(".json"))["model"]
    find = {"timm": _timm, "torchvision": _torchvision}.get(model["builder"])
    found = find(model["options"]["name"]) if find else None
    if found is None:
        raise ConfigError(
            f"task.preprocess: got 'model', but model '{model['builder']}' has no published weights that say how. "
            "Allowed here: data."
        )
    if found.interpolation not in INTERPOLATIONS:
        raise ConfigError(f"task.preprocess: the model wants {found.interpolation} interpolation. Allowed here: data.")
    return found


def _timm(name: str) -> Preprocessing | None:
    found = timm.get_pretrained_cfg(name)
    if found is None:
        return None
    wanted = resolve_data_config(pretrained_cfg=found.to_dict(), verbose=False)
    side = wanted["input_size"][-1]
    shorter = math.floor(side / wanted["crop_pct"])
    return Preprocessing(side, shorter, wanted["interpolation"], tuple(wanted["mean"]), tuple(wanted["std"]))


def _torchvision(name: str) -> Preprocessing | None:
    wanted = get_model_weights(name).DEFAULT.transforms()
    (side,), (shorter,) = wanted.crop_size, wanted.resize_size
    return Preprocessing(side, shorter, wanted.interpolation.value, tuple(wanted.mean), tuple(wanted.std))
