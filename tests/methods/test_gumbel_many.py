"""Mask searches side by side: each finds the mask of its single search, and a killed batch goes on exactly."""

import numpy as np
import pytest

from prunelib.data.datasets import Photo, write
from prunelib.errors import ConfigError
from prunelib.methods.gumbel import gumbel
from prunelib.methods.gumbel_many import gumbel_many
from prunelib.seeds import generator
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.denoise import Denoise
from tests.picture import MODEL, SIDE

DECODER = {"builder": "deep_decoder", "options": {"width": 8, "k": 2}}
MODELS = {"hourglass": MODEL, "deep_decoder": DECODER}
OPTIONS = {"steps": 24, "lr": 0.05, "kl": 1e-6, "log_every": 10}


class Exact(Denoise):
    """The task in float64, where the rounding of other kernels stays far below what is compared."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        for name in ("clean", "noisy", "target", "example"):
            setattr(self, name, getattr(self, name).double())

    def build(self):
        return super().build().double()


def photo(path, seed, height=SIDE):
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:SIDE] / SIDE
    waves = [0.5 + 0.4 * np.sin(a * rows + b * columns + c) for a, b, c in random.uniform(1, 6, (3, 3))]
    write(path, Photo(f"made-up {seed}", (np.stack(waves, -1) * 255).round().astype(np.uint8), "made up"))
    return path


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """Two pictures, two seeds."""
    folder = tmp_path_factory.mktemp("data")
    first, second = photo(folder / "first.h5", 0), photo(folder / "second.h5", 1)
    return [(first, 0), (second, 0), (second, 1)]


def open_tasks(chosen, kind=Denoise, model=MODEL):
    return [kind(path, model, seed) for path, seed in chosen]


def streams(tasks):
    return [generator(task.seed, "search") for task in tasks]


def alone(tasks, density=0.3, **options):
    budget = {"kind": "density", "value": density}
    pairs = zip(tasks, streams(tasks), strict=True)
    return [gumbel(task, budget, stream, **OPTIONS | options) for task, stream in pairs]


def together(tasks, checkpointer=None, density=0.3, **options):
    budget = {"kind": "density", "value": density}
    return gumbel_many(tasks, budget, streams(tasks), checkpointer, **OPTIONS | options)


def differing(first, second):
    """The fraction of entries that one mask keeps and the other does not."""
    return sum(int((first[name] != second[name]).sum()) for name in first) / first.size


@pytest.mark.parametrize("prune", ["all", "weights"])
@pytest.mark.parametrize("model", MODELS)
def test_each_finds_what_its_single_search_finds(chosen, model, prune):
    tasks = open_tasks(chosen, Exact, MODELS[model])
    singles, found = alone(tasks, prune=prune), together(tasks, prune=prune)
    for mine, wanted in zip(found, singles, strict=True):
        assert list(mine.mask) == list(wanted.mask) and differing(mine.mask, wanted.mask) == 0
        assert mine.history["step"] == wanted.history["step"] == [0, 10, 20, 23]
        for column, values in wanted.history.items():
            assert mine.history[column] == pytest.approx(values, abs=1e-9)
        assert mine.figures == pytest.approx(wanted.figures, abs=1e-8)
    assert all(differing(found[0].mask, other.mask) > 0.05 for other in found[1:])


def test_single_precision_differs_in_few_entries(chosen):
    tasks = open_tasks(chosen)
    for mine, wanted in zip(together(tasks), alone(tasks), strict=True):
        assert differing(mine.mask, wanted.mask) < 0.05
        assert mine.history["loss"] == pytest.approx(wanted.history["loss"], rel=0.02)


class Stops(Checkpointer):
    """Saves at every step and is killed right after it has saved step 9."""

    def save(self, state):
        super().save(state)
        if state["searches"][0]["done"] == 9:
            raise KeyboardInterrupt


def test_resumed_searches_equal_uninterrupted_ones(chosen, tmp_path):
    tasks = open_tasks(chosen)
    straight = together(tasks, log_every=4)
    with pytest.raises(KeyboardInterrupt):
        together(tasks, Stops(tmp_path, 0, "these searches"), log_every=4)
    resumed = together(tasks, Checkpointer(tmp_path, 1000, "these searches"), log_every=4)
    for again, whole in zip(resumed, straight, strict=True):
        assert again.history == whole.history and again.figures == whole.figures
        assert differing(again.mask, whole.mask) == 0


def test_density_one_keeps_everything(chosen):
    assert [found.mask.density for found in together(open_tasks(chosen), density=1.0)] == [1, 1, 1]


def test_what_does_not_fit_together_is_refused(chosen, tmp_path):
    tasks = open_tasks(chosen)
    tall = Denoise(photo(tmp_path / "tall.h5", 0, 2 * SIDE), MODEL, 0)
    with pytest.raises(ConfigError, match=r"task 1 has 48 x 24 pixels .* that of task 0 24 x 24"):
        together([tasks[0], tall])
    with pytest.raises(ConfigError, match="got 3 tasks and 1 generators"):
        gumbel_many(tasks, {"kind": "density", "value": 0.5}, streams(tasks[:1]))
