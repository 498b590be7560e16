"""Random and magnitude: exact counts, per tensor or overall, and the collapse that magnitude is known for."""

import pytest
import torch

from prunelib.methods.saliency.datafree import magnitude, random
from prunelib.seeds import generator
from prunelib.tasks.base import alive
from tests.picture import denoise, write_picture


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    return write_picture(tmp_path_factory.mktemp("data") / "picture.h5")


def find(method, task, density, **options):
    return method(task, {"kind": "density", "value": density}, generator(task.seed, "search"), **options).mask


@pytest.mark.parametrize("method", [random, magnitude])
@pytest.mark.parametrize("prune", ["weights", "all"])
def test_counts_are_exact(picture, method, prune):
    task = denoise(picture)
    mask = find(method, task, 0.3, prune=prune)
    parameters = dict(task.build().named_parameters())
    assert set(mask) == {name for name in parameters if prune == "all" or parameters[name].dim() == 4}
    assert mask.kept == int(0.3 * mask.size)
    local = find(method, task, 0.3, prune=prune, scope="local")
    assert all(kept == int(0.3 * size) for _, _, kept, size in local.layers())


def test_random_spreads_evenly(picture):
    mask = find(random, denoise(picture), 0.5)
    name, _, kept, size = max(mask.layers(), key=lambda layer: layer[3])
    assert kept / size == pytest.approx(0.5, abs=0.03), name


def test_magnitude_keeps_the_largest(picture):
    task = denoise(picture)
    mask, parameters = find(magnitude, task, 0.4), dict(task.build().named_parameters())
    kept = torch.cat([parameters[name].abs()[mask[name]] for name in mask])
    gone = torch.cat([parameters[name].abs()[~mask[name]] for name in mask])
    assert kept.min() >= gone.max()


def test_global_magnitude_empties_the_layers_of_large_fan_in(picture):
    task = denoise(picture, model={"builder": "hourglass", "options": {"channels": [4, 32]}})
    mask = find(magnitude, task, 0.05)
    report = alive(task, task.build(), mask)
    assert not mask["encoder.level1.conv2.weight"].any() and mask["head.weight"].any()
    assert not report.alive and "encoder.level1.conv2.weight" in report.why
    assert find(magnitude, task, 0.05, scope="local")["encoder.level1.conv2.weight"].sum() == int(0.05 * 25600)
