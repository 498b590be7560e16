"""``snakemake denoise``: the user's own pictures through the real Snakemake; nothing else depends on them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from prunelib.config import load
from prunelib.errors import ConfigError, DataError
from prunelib.workflow.pictures import FILES, Pictures
from tests.workflow.conftest import Checkout

SMOKE = Path(__file__).with_name("smoke.yaml")
OPTIONS = {"channels": [8, 8], "density": 0.9, "search_steps": 10, "steps": 20, "sigma": 0.1}


def write_picture(path: Path, value: int = 90) -> None:
    path.parent.mkdir(exist_ok=True)
    noise = np.random.Generator(np.random.PCG64(3)).normal(value, 25, (24, 30, 3))
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(path)


def configure(checkout: Checkout, **options: object) -> tuple[str, ...]:
    """Write a smoke configuration with a denoise section; return the arguments that use it."""
    raw = yaml.safe_load(SMOKE.read_text()) | {"denoise": OPTIONS | options}
    (checkout.path / "own.yaml").write_text(yaml.safe_dump(raw))
    return "denoise", "--configfile", "own.yaml"


@pytest.mark.slow
def test_pictures_are_cleaned_by_the_real_steps(checkout: Checkout) -> None:
    arguments = configure(checkout)
    write_picture(checkout.path / "pictures" / "my cat (1).png")
    checkout.snakemake(*arguments)
    folder = checkout.path / "results" / "denoised" / "my cat (1)"
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, f"{FILES[0]}.provenance.json"])
    assert Image.open(folder / "denoised.png").size == (30, 24)
    record = json.loads((folder / "record.json").read_text())
    assert record["request"]["settings"]["method"]["options"]["steps"] == 10
    assert not list((checkout.path / "results" / "checkpoints").rglob("*.*"))
    assert "Nothing to be done" in checkout.snakemake(*arguments).stderr
    assert checkout.planned(*configure(checkout, steps=30)) == {"denoise": 1, "denoise_picture": 1}


def test_what_runs_again_and_what_is_told(checkout: Checkout) -> None:
    stub = (*configure(checkout), "--config", "mode=stub")
    done = checkout.snakemake(*stub, check=False)
    assert done.returncode != 0
    assert f"put noisy pictures into {checkout.path / 'pictures'}" in done.stderr
    assert "Traceback" not in done.stderr
    for name in ("a.png", "b.png"):
        write_picture(checkout.path / "pictures" / name)
    (checkout.path / "pictures" / "notes.txt").write_text("no picture")
    checkout.snakemake(*stub)
    assert Image.open(checkout.path / "results" / "denoised" / "a" / "denoised.png").size == (8, 8)
    assert checkout.planned(*stub) == {}
    assert "denoise_picture" not in checkout.planned("--configfile", "own.yaml", "--config", "mode=stub")
    shutil.copy2(checkout.path / "pictures" / "b.png", checkout.path / "pictures" / "c.jpg")
    assert checkout.planned(*stub) == {"denoise": 1, "denoise_picture": 1}
    write_picture(checkout.path / "pictures" / "c.webp")
    done = checkout.snakemake(*stub, check=False)
    assert "both would become results/denoised/c; rename one" in done.stderr
    assert "oes_train" in checkout.planned("oes", "--configfile", "own.yaml")


def test_names_that_a_path_can_not_hold_are_refused(tmp_path: Path) -> None:
    settings = load(yaml.safe_load(SMOKE.read_text()))
    write_picture(tmp_path / "p" / "a{b}.png")
    with pytest.raises(DataError, match=r"a\{b\}.png: rename it"):
        Pictures(settings, tmp_path / "p").check()


def test_the_section_is_checked_with_the_rest() -> None:
    raw = yaml.safe_load(SMOKE.read_text())
    with pytest.raises(ConfigError, match=r"denoise\.densty: unknown key\. Did you mean 'density'\?"):
        load(raw | {"denoise": {"densty": 0.1}})
    with pytest.raises(ConfigError, match=r"denoise\.sigma: got 25\.5\."):
        load(raw | {"denoise": {"sigma": 25.5}})
