"""Fits side by side: each equals its single fit, whatever the others do; resume is exact; what can't be is refused."""

import numpy as np
import pytest
import torch

from prunelib.data.datasets import Photo, write
from prunelib.errors import ConfigError, MethodError, PrunelibError
from prunelib.masks.mask import Mask
from prunelib.models.build import build as build_model
from prunelib.storage.checkpoint import Checkpointer
from prunelib.training.fit_image import fit_image
from prunelib.training.fit_many import fit_many
from tests.picture import MODEL, RECIPE, SIDE, denoise

DECODER = {"builder": "deep_decoder", "options": {"width": 8, "k": 2}}
MODELS = {"hourglass": MODEL, "deep_decoder": DECODER}
STEPS = {"steps": 24, "log_every": 8}


def photo(path, seed, height=SIDE, width=SIDE):
    """Another smooth picture for every seed."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / SIDE
    waves = [0.5 + 0.4 * np.sin(a * rows + b * columns + c) for a, b, c in random.uniform(1, 6, (3, 3))]
    write(path, Photo(f"made-up {seed}", (np.stack(waves, -1) * 255).round().astype(np.uint8), "made up"))
    return path


def double(task):
    """The task in float64, where the rounding of other kernels stays far below what is compared."""
    for name, value in vars(task).copy().items():
        if isinstance(value, torch.Tensor):
            setattr(task, name, value.double())
    return task


def open_tasks(folder, convert):
    """For each kind of model three tasks: two pictures, two seeds."""
    first, second = photo(folder / "first.h5", 0), photo(folder / "second.h5", 1)
    chosen = [(first, 0), (second, 0), (second, 1)]
    return {name: [convert(denoise(path, seed, model)) for path, seed in chosen] for name, model in MODELS.items()}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return open_tasks(tmp_path_factory.mktemp("data"), lambda task: task)


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    return open_tasks(tmp_path_factory.mktemp("data"), double)


def build(tasks):
    return [task.build().to(task.example.dtype) for task in tasks]


def random_mask(model, seed, only=""):
    random = torch.Generator().manual_seed(seed)
    names = [(name, p) for name, p in model.named_parameters() if only in name]
    return Mask({name: torch.rand(p.shape, generator=random) < 0.6 for name, p in names})


def singles(tasks, masks, **changes):
    models = build(tasks)
    return models, [
        fit_image(task, model, RECIPE | changes, mask=mask)
        for task, model, mask in zip(tasks, models, masks, strict=True)
    ]


def together(tasks, masks=None, checkpointer=None, **changes):
    models = build(tasks)
    return models, fit_many(tasks, models, RECIPE | changes, masks=masks, checkpointer=checkpointer)


def distance(first, second):
    """The largest difference between two models' parameters and running statistics."""
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


def apart(first, second, task):
    """The largest difference between two models' outputs, and a hundredth of that between their tensors.

    A bias in front of a norm has no gradient but rounding, which Adam's eps turns into 1e-10 a step.
    """
    with torch.no_grad():
        outputs = (first(task.example) - second(task.example)).abs().max().item()
    return max(outputs, distance(first, second) / 100)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_each_equals_its_single_fit(exact, kind, masked):
    """Over 24 steps, in weights, norms' running statistics, history, figures and images."""
    tasks = exact[kind]
    masks = [random_mask(model, seed) if masked else None for seed, model in enumerate(build(tasks))]
    (alone, expected), (models, results) = singles(tasks, masks, **STEPS), together(tasks, masks, **STEPS)
    assert max(map(apart, models, alone, tasks)) < 1e-9
    assert len({result.columns["loss"][-1] for result in results}) == 3
    for mask, model, result, wanted in zip(masks, models, results, expected, strict=True):
        assert list(result.columns) == list(wanted.columns) and list(result.metrics) == list(wanted.metrics)
        for name, values in wanted.columns.items():
            assert result.columns[name] == pytest.approx(values, abs=1e-9)
        assert result.metrics == pytest.approx(wanted.metrics, abs=1e-8)
        assert result.steps == wanted.steps == 24 and result.step_ms > 0
        assert {n: i.shape for n, i in result.images.items()} == {n: i.shape for n, i in wanted.images.items()}
        assert all(np.abs(result.images[n].astype(int) - wanted.images[n]).max() <= 1 for n in wanted.images)
        pruned = [model.get_parameter(name)[~kept] for name, kept in (mask or {}).items()]
        assert not any(weights.any() for weights in pruned)


def test_noise_and_averages_are_those_of_single_fits(exact):
    tasks = exact["hourglass"]
    masks = [random_mask(model, seed) for seed, model in enumerate(build(tasks))]
    noisy = STEPS | {"input_noise": 0.03, "weight_noise": 0.005, "average_from": 10}
    (alone, expected), (models, results) = singles(tasks, masks, **noisy), together(tasks, masks, **noisy)
    assert max(map(apart, models, alone, tasks)) < 1e-9
    for result, wanted in zip(results, expected, strict=True):
        assert result.metrics["psnr_average"] == pytest.approx(wanted.metrics["psnr_average"], abs=1e-9)
        assert np.abs(result.images["average"].astype(int) - wanted.images["average"]).max() <= 1


def test_single_precision_stays_close(tasks):
    (_, expected), (_, results) = (
        singles(tasks["hourglass"], [None] * 3, steps=60),
        together(tasks["hourglass"], steps=60),
    )
    for result, wanted in zip(results, expected, strict=True):
        assert result.columns["loss"][0] == pytest.approx(wanted.columns["loss"][0], rel=1e-5)
        assert result.columns["loss"][1] == pytest.approx(wanted.columns["loss"][1], rel=1e-2)  # 20 steps on
        assert result.metrics["psnr_final"] == pytest.approx(wanted.metrics["psnr_final"], abs=0.1)


def test_masks_may_cover_different_parameters_or_none(exact):
    tasks = exact["hourglass"]
    first, second, _ = build(tasks)
    masks = [random_mask(first, 0, "conv2.weight"), random_mask(second, 1, "bias"), None]
    alone, _ = singles(tasks, masks, **STEPS)
    models, _ = together(tasks, masks, **STEPS)
    assert max(map(apart, models, alone, tasks)) < 1e-9
    pruned = {name: models[0].get_parameter(name) == 0 for name in masks[0]}
    assert all(torch.equal(pruned[name], ~kept) for name, kept in masks[0].items())
    assert all((models[2].get_parameter(name) != 0).all() for name in masks[0])


class Stops(Checkpointer):
    """Saves at every row and is killed right after the third save."""

    def save(self, state):
        super().save(state)
        if state["step"] == 16:
            raise KeyboardInterrupt


@pytest.mark.parametrize("changes", [{}, {"input_noise": 0.03, "weight_noise": 0.005, "average_from": 4}])
def test_resumed_fits_equal_uninterrupted_ones(tasks, tmp_path, changes):
    chosen, recipe = tasks["hourglass"], STEPS | changes
    masks = [random_mask(model, seed) for seed, model in enumerate(build(chosen))]
    whole, straight = together(chosen, masks, **recipe)
    with pytest.raises(KeyboardInterrupt):
        together(chosen, masks, Stops(tmp_path, 0, "these runs"), **recipe)
    resumed, results = together(chosen, masks, Checkpointer(tmp_path, 1000, "these runs"), **recipe)
    assert max(map(distance, whole, resumed)) == 0
    for result, wanted in zip(results, straight, strict=True):
        assert result.columns == wanted.columns and result.metrics == wanted.metrics
        assert all((result.images[name] == wanted.images[name]).all() for name in wanted.images)


def test_no_steps_measure_the_untrained_networks(tasks):
    models, results = together(tasks["hourglass"], steps=0)
    assert [result.columns["step"] for result in results] == [[0.0]] * 3
    assert all(
        torch.equal(mine, initial)
        for model, fresh in zip(models, build(tasks["hourglass"]), strict=True)
        for mine, initial in zip(model.parameters(), fresh.parameters(), strict=True)
    )


def test_one_fit_that_diverges_is_named(tasks):
    models = build(tasks["hourglass"])
    with torch.no_grad():
        models[1].head.bias.fill_(float("nan"))
    with pytest.raises(PrunelibError, match="fit image 1: the loss is nan at step 0; lower the recipe's 'lr'"):
        fit_many(tasks["hourglass"], models, RECIPE)


def test_pictures_of_different_sizes_are_refused(tasks, tmp_path):
    wide = denoise(photo(tmp_path / "wide.h5", 0, SIDE, 2 * SIDE), 0, MODEL)
    with pytest.raises(ConfigError, match=r"task 1 has 24 x 48 pixels .* that of task 0 24 x 24 .* group them by size"):
        together([tasks["hourglass"][0], wide])


def test_different_architectures_are_refused(tasks):
    chosen = tasks["hourglass"][:2]
    other = build_model({"builder": "hourglass", "options": {"channels": [8, 8]}}, 0)
    with pytest.raises(ConfigError, match=r"network 1 differs from network 0 in encoder.level0.conv1.weight \(\(8, 32"):
        fit_many(chosen, [chosen[0].build(), other], RECIPE)


def test_lists_that_do_not_match_are_refused(tasks):
    chosen = tasks["hourglass"]
    with pytest.raises(ConfigError, match="got 3 tasks, 2 models and 3 masks"):
        fit_many(chosen, build(chosen[:2]), RECIPE)
    with pytest.raises(ConfigError, match="got no task"):
        fit_many([], [], RECIPE)
    with pytest.raises(MethodError, match="does not fit the model"):
        fit_many(
            chosen, build(chosen), RECIPE, masks=[Mask({"head.bias": torch.ones(5, dtype=torch.bool)}), None, None]
        )
