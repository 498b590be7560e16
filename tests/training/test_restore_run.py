"""The train step for a picture without a clean one: figures that do not exist are absent, what remains is written."""

import json

import numpy as np

from prunelib.data.datasets import Photo, write
from prunelib.storage.hdf5 import load_history
from prunelib.training.run import train_run
from tests.picture import MODEL, RECIPE

RUN = {"paper": "oes", "task": "mine", "model": "tiny", "method": "dense", "budget": "full", "seed": 0}


def test_a_grey_picture_of_any_size_is_restored(tmp_path):
    random = np.random.default_rng(0)
    pixels = np.clip(random.normal(128, 20, (26, 33, 1)).round(), 0, 255).astype(np.uint8)
    write(tmp_path / "photo.h5", Photo("mine", pixels, "made up"))
    described = {
        "run": RUN,
        "task": {"kind": "restore", "options": {"sigma": None}},
        "model": MODEL,
        "recipe": RECIPE | {"steps": 6, "log_every": 2, "average_from": 3},
        "seed": 0,
        "scale": "quick",
    }
    names = {"weights": "weights.safetensors", "history": "history.h5", "metrics": "metrics.json"}
    outputs = {name: tmp_path / file for name, file in names.items()}
    given = {"mask": None, "start": None, "structure": None, "checkpoints": tmp_path / "c", "checkpoint_seconds": 60.0}
    train_run(described, tmp_path / "photo.h5", outputs, **given, device="cpu")
    metrics = json.loads(outputs["metrics"].read_text())["metrics"]
    assert abs(metrics["sigma"] - 20 / 255) < 0.01 and metrics["step_stop"] is None
    assert not {"psnr_final", "psnr_peak", "psnr_noisy", "psnr_average", "ssim_final"} & metrics.keys()
    history = load_history(outputs["history"])
    assert {name: image.shape for name, image in history.images.items()} == dict.fromkeys(
        ("noisy", "final", "average"), (26, 33, 1)
    )
    assert (history.images["noisy"] == pixels).all()
    assert np.isnan(history.columns["variance"]).all() and np.isfinite(history.columns["psnr_noisy"]).all()
