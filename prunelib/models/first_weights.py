"""Published weights as the first weights of an architecture, from a local safetensors file, with a head of any size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from torch import Tensor, nn

from prunelib.errors import ArtefactError
from prunelib.storage.weights import load_tensors


def timm_with_weights(name: str, weights: str, classes: int, in_channels: int, given: Mapping[str, Any]) -> nn.Module:
    """Build a timm architecture from a file of its weights; ``given`` are further arguments of timm.create_model.

    As timm does, other names are translated, position embeddings resized and the first convolution fitted to
    ``in_channels``. A classifier of another size is replaced by a new one at initial weights. Raises ArtefactError for
    weights that are another architecture's.
    """
    state = load_tensors(weights)
    found = timm.get_pretrained_cfg(name)
    known = _classes(state, found.classifier, found.label_offset or 0) if found else None
    known = known or (found.num_classes if found else classes)
    overlay = {"state_dict": state, "num_classes": known}
    try:
        model = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=known, in_chans=in_channels, **given
        )
    except (RuntimeError, KeyError) as error:
        raise ArtefactError(f"{weights}: not the weights of {name} ({_brief(error)}).") from None
    if known != classes:
        model.reset_classifier(classes)
    return model


def fill_(model: nn.Module, weights: str) -> None:
    """Give a network the tensors of a file but for one layer of other sizes, its classifier; in place.

    Raises ArtefactError when names differ, or more than that one layer.
    """
    state, own = load_tensors(weights), model.state_dict()
    differing = [name for name in own if name in state and own[name].shape != state[name].shape]
    if len({name.rpartition(".")[0] for name in differing}) > 1:
        raise ArtefactError(f"{weights}: not the weights of this network; {', '.join(differing[:3])} have other sizes.")
    try:
        model.load_state_dict(state | {name: own[name] for name in differing})
    except RuntimeError as error:
        raise ArtefactError(f"{weights}: not the weights of this network ({_brief(error)}).") from None


def _classes(state: Mapping[str, Tensor], classifier: str | tuple[str, ...] | None, offset: int) -> int | None:
    """Return how many classes the weights tell apart, or None when they name their classifier otherwise."""
    names = (classifier,) if isinstance(classifier, str) else classifier or ()
    sizes = [len(state[f"{name}.weight"]) - offset for name in names if f"{name}.weight" in state]
    return sizes[0] if sizes else None


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[min(1, len(lines) - 1)][:200] if lines else type(error).__name__
