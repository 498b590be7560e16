"""Noisy descent: the loop is the hand-written one, pruned weights sleep on, the average is one, a resume is exact."""

import pytest
import torch

from prunelib.masks.mask import Mask
from prunelib.measure.image import psnr, to_pixels
from prunelib.seeds import generator
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.base import prunable
from prunelib.training.fit_image import fit_image
from tests.picture import RECIPE, denoise, write_picture

SGLD = RECIPE | {"steps": 9, "log_every": 3, "input_noise": 1 / 30, "weight_noise": 0.005, "average_from": 4}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return denoise(write_picture(tmp_path_factory.mktemp("data") / "picture.h5", 22, 24))


def fit(task, mask=None, checkpointer=None, **changes):
    model = task.build()
    return model, fit_image(task, model, SGLD | changes, mask=mask, checkpointer=checkpointer)


def half(model):
    random = torch.Generator().manual_seed(0)
    return Mask({name: torch.rand(p.shape, generator=random) < 0.5 for name, p in prunable(model).items()})


def by_hand(task):
    """SGLD as it is published, written out: Adam, noisy input, noise on four-dimensional weights after each step.

    To the bit, because Adam makes whole steps of the rounding errors that are the slopes of a bias before a norm.
    """
    model, outputs = task.build(), []
    adam = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    for step in range(10):
        noise = torch.randn(task.example.shape, generator=generator(0, "sgld-input", step))
        outputs.append(model(torch.add(task.example, noise, alpha=1 / 30)))
        if step == 9:
            return model, [task.crop(output.detach()) for output in outputs]
        adam.zero_grad()
        torch.nn.functional.mse_loss(outputs[-1], task.target).backward()
        adam.step()
        stream = generator(0, "sgld-weights", step)
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.data.add_(torch.randn(parameter.shape, generator=stream), alpha=0.005)


def test_the_loop_is_the_hand_written_one(task):
    model, result = fit(task)
    expected, outputs = by_hand(task)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))
    curve = [psnr(outputs[step], task.clean).item() for step in (0, 3, 6, 9)]
    assert result.columns["psnr"] == curve
    mean = torch.stack(outputs[4:]).mean(0)
    assert result.metrics["psnr_average"] == pytest.approx(psnr(mean, task.clean).item(), abs=1e-3)
    difference = result.images["average"].astype(int) - to_pixels(mean)
    assert result.images["average"].shape == (22, 24, 3) and abs(difference).max() <= 1


def test_each_noise_changes_the_fit_and_the_average_does_not(task):
    quiet = {"input_noise": 0.0, "weight_noise": 0.0, "average_from": None}
    plain = fit(task, **quiet)[1]
    changes = {"input_noise": 0.1, "weight_noise": 0.01, "average_from": 0}
    losses = {name: fit(task, **quiet | {name: value})[1].columns["loss"] for name, value in changes.items()}
    assert losses["average_from"] == plain.columns["loss"]
    assert losses["input_noise"] != plain.columns["loss"] != losses["weight_noise"]
    assert "average" not in plain.images and "psnr_average" not in plain.metrics


def test_noise_wakes_no_pruned_weight(task):
    mask = half(task.build())
    weights = dict(fit(task, mask)[0].named_parameters())
    for name, kept in mask.items():
        assert (weights[name][~kept] == 0).all() and (weights[name][kept] != 0).all()


class Stops(Checkpointer):
    """Saves at every row and is killed right after the save at step 6."""

    def save(self, state):
        super().save(state)
        if state["step"] == 6:
            raise KeyboardInterrupt


def test_a_resumed_fit_equals_an_uninterrupted_one(task, tmp_path):
    whole, straight = fit(task)
    with pytest.raises(KeyboardInterrupt):
        fit(task, None, Stops(tmp_path, 0, "this run"))
    resumed, result = fit(task, None, Checkpointer(tmp_path, 1000, "this run"))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert result.columns == straight.columns and result.metrics == straight.metrics
    assert (result.images["average"] == straight.images["average"]).all()
