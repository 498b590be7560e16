"""The image-fitting loop: it learns, sparse stays sparse, its metrics are those of its history, resume is exact."""

import statistics

import numpy as np
import pytest
import torch

from prunelib.data.datasets import Photo, write
from prunelib.errors import PrunelibError
from prunelib.masks.mask import Mask
from prunelib.measure.image import psnr, ssim
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.base import prunable
from prunelib.tasks.restore import Restore
from prunelib.training.fit_image import fit_image
from tests.picture import MODEL, RECIPE, SIDE, denoise, write_picture


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return denoise(write_picture(tmp_path_factory.mktemp("data") / "picture.h5"))


def fit(task, mask=None, checkpointer=None, **changes):
    model = task.build()
    return model, fit_image(task, model, RECIPE | changes, mask=mask, checkpointer=checkpointer)


def half(model):
    random = torch.Generator().manual_seed(0)
    return Mask({name: torch.rand(p.shape, generator=random) < 0.5 for name, p in prunable(model).items()})


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_the_picture(task):
    model, result = fit(task)
    columns = result.columns
    assert columns["step"] == [0, 10, 20, 30, 40, 50, 60]
    assert columns["loss"][-1] < 0.3 * columns["loss"][0]
    assert columns["psnr"][-1] > columns["psnr"][0] + 5
    assert result.steps == 60 and result.step_ms > 0
    with torch.no_grad():  # the last row is the network as it is handed back
        assert psnr(model(task.example), task.clean).item() == pytest.approx(columns["psnr"][-1], abs=1e-4)


def test_rows_agree_with_each_other(task):
    columns = fit(task)[1].columns
    from_loss = [-10 * torch.tensor(loss).log10().item() for loss in columns["loss"]]
    assert columns["psnr_noisy"] == pytest.approx(from_loss, abs=1e-3)


def test_metrics_are_those_of_the_history_and_the_images(task):
    result = fit(task, steps=130)[1]
    curve, metrics = result.columns["psnr"], result.metrics
    assert metrics["psnr_peak"] == max(curve) and metrics["psnr_final"] == curve[-1]
    assert metrics["psnr_gap"] == max(curve) - curve[-1]
    assert metrics["psnr_last10"] == statistics.median(curve[-10:])
    assert metrics["step_peak"] == result.columns["step"][curve.index(max(curve))]
    assert metrics["psnr_vs_noisy"] == result.columns["psnr_noisy"][-1]
    assert metrics["psnr_noisy"] == pytest.approx(psnr(task.noisy, task.clean).item())
    clean, final = (result.images[name].astype("float32") / 255 for name in ("clean", "final"))
    assert metrics["ssim_final"] == result.columns["ssim"][-1] == pytest.approx(ssim(final, clean), abs=0.01)


def test_the_stopping_rules_name_rows_of_the_history_and_do_not_stop_the_fit(task):
    result = fit(task, steps=130)[1]
    columns, metrics = result.columns, result.metrics
    variance = columns["variance"]
    assert variance[:9] == [None] * 9 and all(value > 0 for value in variance[9:])
    row = variance.index(min(variance[9:]))
    assert metrics["step_stop"] == columns["step"][row] and metrics["psnr_stop"] == columns["psnr"][row]
    stop, clean = (torch.from_numpy(result.images[name]) / 255 for name in ("stop", "clean"))
    assert psnr(stop, clean).item() == pytest.approx(metrics["psnr_stop"], abs=0.05)
    assert columns["step"][-1] == 130


@pytest.mark.parametrize(("sigma", "reached"), [(0.3, True), (1e-3, False)])
def test_the_discrepancy_principle_takes_the_first_loss_down_to_the_noise(tmp_path, sigma, reached):
    result = fit(denoise(write_picture(tmp_path / "p.h5"), sigma=sigma))[1]
    step, losses = result.metrics["step_discrepancy"], result.columns["loss"]
    if reached:
        row = result.columns["step"].index(step)
        assert losses[row] <= sigma**2 < min(losses[:row], default=1)
        assert result.metrics["psnr_discrepancy"] == result.columns["psnr"][row]
    else:
        assert min(losses) > sigma**2 and step is result.metrics["psnr_discrepancy"] is None


@pytest.mark.parametrize(("height", "width", "channels"), [(250, 333, 3), (31, 47, 1), (1, 40, 3), (40, 1, 1)])
def test_a_picture_of_any_size_and_mode_is_drawn(tmp_path, height, width, channels):
    pixels = np.random.default_rng(0).integers(90, 110, (height, width, channels), dtype=np.uint8)
    write(tmp_path / "odd.h5", Photo("odd", pixels, "made up"))
    odd = denoise(tmp_path / "odd.h5", sigma=0.05)
    model, result = fit(odd, steps=4, log_every=2)
    shown = {"clean", "noisy", "final", "best"}
    assert {name: image.shape for name, image in result.images.items()} == dict.fromkeys(shown, pixels.shape)
    assert (result.images["clean"] == pixels).all()
    with torch.no_grad():
        drawn = odd.crop(model(odd.example))
    assert psnr(drawn, odd.clean).item() == pytest.approx(result.metrics["psnr_final"], abs=1e-4)
    assert psnr(drawn, odd.noisy).item() == pytest.approx(result.metrics["psnr_vs_noisy"], abs=1e-4)
    assert (result.metrics["ssim_final"] is None) == (min(height, width) < 3)


def test_without_a_clean_picture_nothing_is_compared_with_it(tmp_path):
    task = Restore(write_picture(tmp_path / "p.h5"), MODEL, 0, sigma=0.1)
    result = fit(task, steps=100)[1]
    assert list(result.columns) == ["step", "loss", "psnr_noisy", "variance"]
    assert set(result.images) == {"noisy", "final", "stop"}
    assert set(result.metrics) == {"sigma", "psnr_vs_noisy", "step_stop", "step_discrepancy"}
    assert result.metrics["psnr_vs_noisy"] == result.columns["psnr_noisy"][-1] > result.columns["psnr_noisy"][0] + 5


def test_images_are_pixels_and_best_is_the_best_row(task):
    result = fit(task, lr=0.05, steps=200)[1]
    assert set(result.images) == {"clean", "noisy", "final", "best", "stop"}
    assert all(image.shape == (SIDE, SIDE, 3) and image.dtype == "uint8" for image in result.images.values())
    clean, best = (torch.from_numpy(result.images[name]) / 255 for name in ("clean", "best"))
    assert psnr(best, clean).item() == pytest.approx(result.metrics["psnr_peak"], abs=0.05)


def test_pruned_weights_are_zero_at_the_end_and_kept_ones_have_moved(task):
    mask = half(task.build())
    model, result = fit(task, mask)
    start, end = (dict(network.named_parameters()) for network in (task.build(), model))
    for name, kept in mask.items():
        assert (end[name][~kept] == 0).all()
        assert (end[name] != start[name])[kept].float().mean() > 0.5  # some channels are cut off whole
    assert result.columns["loss"][-1] < result.columns["loss"][0]


def test_a_full_mask_changes_nothing(task):
    (dense, first), (masked, second) = fit(task), fit(task, Mask.ones(dict(task.build().named_parameters())))
    assert same(dense.state_dict(), masked.state_dict()) and first.columns == second.columns


class Stops(Checkpointer):
    """Saves at every row and is killed right after the save at step 20."""

    def save(self, state):
        super().save(state)
        if state["step"] == 20:
            raise KeyboardInterrupt


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("log_every", [10, 1])  # before and after the window of the moving variance is full
def test_a_resumed_fit_equals_an_uninterrupted_one(task, tmp_path, masked, log_every):
    mask = half(task.build()) if masked else None
    whole, straight = fit(task, mask, log_every=log_every)
    with pytest.raises(KeyboardInterrupt):
        fit(task, mask, Stops(tmp_path, 0, "this run"), log_every=log_every)
    resumed, result = fit(task, mask, Checkpointer(tmp_path, 1000, "this run"), log_every=log_every)
    assert same(whole.state_dict(), resumed.state_dict())
    assert result.columns == straight.columns and result.metrics == straight.metrics
    assert all((result.images[name] == straight.images[name]).all() for name in straight.images)


def test_no_steps_measure_the_untrained_network(task):
    model, result = fit(task, steps=0)
    assert result.columns["step"] == [0] and result.step_ms is None
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), task.build().parameters(), strict=True))


def test_a_fit_that_diverges_says_so(task):
    model = task.build()
    with torch.no_grad():
        model.head.bias.fill_(float("nan"))
    with pytest.raises(PrunelibError, match="the loss is nan at step 0; lower the recipe's 'lr'"):
        fit_image(task, model, RECIPE)
