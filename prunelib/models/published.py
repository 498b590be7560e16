"""The published weights of timm's and torchvision's architectures: found by name, checked, stored as safetensors.

Nothing here runs within a training: a rule of the workflow, or a command, fetches the file first.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import timm
import torchvision

from prunelib.data.download import Remote, fetch, read_text
from prunelib.errors import ConfigError, DataError, nearest
from prunelib.storage.files import sha256, write_json
from prunelib.storage.legacy import convert_pickle
from prunelib.storage.weights import load_tensors, save_weights

HUB = "https://huggingface.co"  # HF_ENDPOINT names a mirror, as it does for the hub's own library
log = logging.getLogger(__name__)


def obtain_weights(builder: str, name: str, output: str | Path, record: str | Path) -> None:
    """Write an architecture's published weights to ``output`` and where they are from to ``record`` (JSON).

    builder: "timm" (name: architecture or architecture.tag) or "torchvision" (name: architecture, or
    architecture-WEIGHTS such as resnet50-IMAGENET1K_V1). Downloads lie in the cache (``prunelib.data.download``); a
    pickle among them gives its tensors only. Raises ConfigError for a name without weights, DataError for a failure.
    """
    remote = published(builder, name)
    path = fetch(remote)
    if remote.name.endswith(".safetensors"):
        save_weights(output, load_tensors(path))
    else:
        convert_pickle(path, output)
    write_json(record, {"builder": builder, "name": name, "url": remote.url, "sha256": sha256(path)})
    log.info("%s: written from %s.", output, remote)


def published(builder: str, name: str) -> Remote:
    """Return where an architecture's weights lie and the checksum stated there; raises ConfigError, DataError."""
    find = {"timm": _timm, "torchvision": _torchvision}.get(builder)
    if find is None:
        raise ConfigError(f"builder '{builder}': has no published weights. Allowed: timm, torchvision.")
    return find(name)


def _timm(name: str) -> Remote:
    """From the hub, whose pointer file states the checksum; else from an address whose file name begins with it."""
    found = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if found is None or not (found.hf_hub_id or found.url):
        hint = nearest(name, timm.list_models(pretrained=True))
        raise ConfigError(f"model timm: no published weights for '{name}' in timm {timm.__version__}.{hint}")
    if not found.hf_hub_id:
        return _named_by_digest(found.url)
    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    file = found.hf_hub_filename or "model.safetensors"
    pointer = read_text(f"{hub}/{found.hf_hub_id}/raw/main/{file}")
    digest = re.search(r"^oid sha256:([0-9a-f]{64})$", pointer, re.MULTILINE)
    size = re.search(r"^size ([0-9]+)$", pointer, re.MULTILINE)
    if digest is None or size is None:
        raise DataError(f"{hub}/{found.hf_hub_id}: states no checksum of {file}; it can't be fetched safely.")
    return Remote(f"{hub}/{found.hf_hub_id}/resolve/main/{file}", digest[1], int(size[1]))


def _torchvision(name: str) -> Remote:
    architecture, _, tag = name.partition("-")
    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        raise ConfigError(f"model torchvision: no architecture '{architecture}'.{nearest(architecture, known)}")
    all_of: Any = torchvision.models.get_model_weights(architecture)
    tags = [entry.name for entry in all_of]
    if tag and tag not in tags:
        raise ConfigError(f"model torchvision: '{architecture}' has no weights '{tag}'. Allowed: {', '.join(tags)}.")
    return _named_by_digest((all_of[tag] if tag else all_of.DEFAULT).url)


def _named_by_digest(url: str) -> Remote:
    """Return a file named as torch.hub's are: <name>-<first digits of its sha256>.<suffix>."""
    digits = re.search(r"-([0-9a-f]{8,64})\.[a-z]+$", url)
    if digits is None:
        raise DataError(
            f"{url}: its name states no checksum, so that it can't be fetched safely; download it, turn it into "
            "safetensors (python -m prunelib convert-pickle) and name that file as the model's weights."
        )
    return Remote(url, digits[1], leading=True)
