"""Tiny valid outputs for ``mode: stub``: the whole workflow in seconds, to test its wiring without torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from prunelib.storage.files import atomic_path, write_json, write_text
from prunelib.storage.hdf5 import creating, save_history

if TYPE_CHECKING:
    from prunelib.workflow.step import Step

SIDE = 8  # stub pictures are 8 x 8


def write_stubs(step: Step) -> None:
    """Write every declared output of a step; the numbers depend on the step's settings only."""
    settings = step.params.get("settings", {})
    random = np.random.Generator(np.random.PCG64(_number(step.params)))
    for path in step.outputs.values():
        if path.name == "metrics.json":
            write_json(path, _metrics(settings, random))
        elif path.name == "diagnostics.json":
            network = {"edges": 100, "sigma2_bound": float(random.random()), "expansion": 1 + float(random.random())}
            write_json(path, {"layers": [], "network": network})
        elif path.suffix == ".json":
            write_json(path, {"stub": True})
        elif path.suffix == ".safetensors":
            with atomic_path(path) as temporary:
                save_file({"stub": random.random(4, dtype=np.float32)}, temporary)
        elif path.suffix == ".png":
            with atomic_path(path) as temporary:
                Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(temporary)
        elif path.suffix == ".csv":
            write_text(path, "step,loss\n0,1\n")
        else:
            _write_hdf5(path, settings, random)


def _number(params: dict[str, Any]) -> int:
    """Derive a seed from the settings (not from the code), so that a code edit reruns jobs with equal results."""
    text = repr(params.get("settings") or params.get("spec"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _metrics(settings: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    run = settings["run"]
    path = "/".join([*(str(run[key]) for key in ("paper", "task", "model", "method", "budget")), f"seed{run['seed']}"])
    density = 1.0 if run["budget"] == "full" else 0.5
    shared = {"density": density, "density_all": density, "density_compact": density}
    shared |= {"parameters": 1000, "parameters_kept": int(1000 * density), "macs": 10_000, "macs_compact": 5_000}
    if settings["recipe"]["loop"] == "fit_image":
        peak = 25 + float(random.random())
        own = {"psnr_peak": peak, "psnr_final": peak - 1, "psnr_gap": 1.0, "psnr_noisy": 20.0, "step_peak": 10}
    else:
        own = {"top1": float(random.random()), "top1_start": 0.1, "loss": 1.0, "val_top1": 0.5, "val_loss": 1.0}
    timing = {"wall_s": 0.0, "cpu_s": 0.0, "steps": 3, "step_ms": 0.0, "peak_rss_mb": 0.0}
    head = {"run": {**run, "path": path}, "status": "ok", "why": "", "scale": settings["scale"], "settings": settings}
    return {**head, "metrics": shared | own, "timing": timing, "provenance": {"stub": True}}


def _write_hdf5(path: Path, settings: dict[str, Any], random: np.random.Generator) -> None:
    """Write a history of three rows (with the pictures a report looks for), or a stand-in for a data set or mask."""
    if path.name != "history.h5":
        with creating(path, "prunelib-stub-1") as file:
            file.create_dataset("stub", data=random.random(3))
        return
    fits = settings["recipe"]["loop"] == "fit_image"
    first, watched = ("step", "psnr") if fits else ("epoch", "top1_val")
    columns = {first: [0.0, 1.0, 2.0], "loss": list(random.random(3)), watched: list(random.random(3))}
    shape = (SIDE, SIDE, 3)
    images = {name: random.integers(0, 256, shape, dtype=np.uint8) for name in ("clean", "noisy", "final", "best")}
    save_history(path, columns, images if fits else None)
