"""The classification loop: it learns, equal seeds give equal bits, a resumed run equals a straight one, masks hold."""

import math
import os
import signal

import pytest
import torch

from prunelib.errors import ConfigError
from prunelib.masks.mask import Mask
from prunelib.methods.callbacks import Callback
from prunelib.storage.checkpoint import Checkpointer
from prunelib.tasks.base import prunable
from prunelib.tasks.classify import Classify
from prunelib.training.classify import evaluate, train_classifier
from tests.tiny import LEARNS_FAST, MODEL, recipe, write_squares

OPTIMIZERS = ["sgd", "adam", "adamw", "adadelta"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp("data") / "squares.h5")


@pytest.fixture(scope="module")
def task(data):
    return Classify(data, MODEL, 0)


@pytest.fixture(scope="module")
def easy(data):
    return Classify(data, LEARNS_FAST, 0)


def _bits(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def _half(model, seed=0):
    random = torch.Generator().manual_seed(seed)
    return Mask({name: torch.rand(w.shape, generator=random) < 0.5 for name, w in prunable(model).items()})


class Counting(Callback):
    """Counts its hooks, draws from its own stream and keeps both over a resume."""

    def __init__(self):
        self.calls, self.random = [], torch.Generator().manual_seed(3)

    def before_step(self, model, batch):
        self.calls.append("before")

    def forward(self, model, x):
        if model.training:
            self.calls.append("forward")
            x = x + 0.1 * torch.randn(x.shape, generator=self.random)
        return model(x)

    def after_step(self, model):
        self.calls.append("after")

    def after_epoch(self, model, epoch):
        return {"draw": torch.rand(1, generator=self.random).item()}

    def state(self):
        return {"calls": list(self.calls), "random": self.random.get_state()}

    def restore(self, state):
        self.calls = list(state["calls"])
        self.random.set_state(state["random"])

    def finish(self, model):
        return Mask({"gate": torch.tensor([True, False])})

    def metrics(self, model):
        return {"calls": float(len(self.calls))}


class Stopped(Exception):
    pass


class StopsAfter(Checkpointer):
    """Saves after every epoch and stops the run after the given one, as a kill would."""

    def __init__(self, directory, epochs):
        super().__init__(directory, 0, "run")
        self.left = epochs

    def save(self, state):
        super().save(state)
        self.left -= 1
        if self.left == 0:
            raise Stopped


def test_it_learns_and_tells_what_happened(easy):
    result = train_classifier(easy, easy.build(), recipe(epochs=15))
    assert result.metrics["top1"] > 0.9 and result.metrics["val_top1"] > 0.9
    assert result.metrics["loss"] < 0.5 and result.metrics["top3"] is None
    assert set(result.columns) == {"epoch", "lr", "loss", "top1", "top1_val", "loss_val"}
    assert result.columns["epoch"] == [float(epoch) for epoch in range(1, 16)]
    assert result.columns["loss"][-1] < result.columns["loss"][0]
    assert result.steps == 15 * 4 and result.step_ms > 0 and result.mask is None
    assert result.columns["top1_val"][-1] == result.metrics["val_top1"]


def test_no_epochs_leave_the_weights_alone(task):
    model = task.build()
    result = train_classifier(task, model, recipe(epochs=0))
    assert _same(_bits(model), _bits(task.build()))
    assert (result.columns, result.steps, result.step_ms) == ({}, 0, None)
    assert result.metrics["top1"] is not None


def test_the_mean_loss_of_the_first_epoch_is_that_of_its_batches(easy):
    model = easy.build()
    batches = [easy.loss(model(images), labels) * len(labels) for images, labels in easy.fold("train", 60)]
    result = train_classifier(easy, easy.build(), recipe(epochs=1, batch_size=60))
    assert result.columns["loss"][0] == pytest.approx(sum(batches).item() / 60, rel=1e-5)


@pytest.mark.parametrize("changes", [{"augment": "crop-flip"}, {"augment": "shift", "optimizer": "adam", "lr": 0.01}])
def test_equal_seeds_give_equal_bits_and_other_seeds_differ(data, changes):
    def weights(seed):
        task = Classify(data, MODEL, seed)
        model = task.build()
        train_classifier(task, model, recipe(epochs=2, **changes))
        return _bits(model)

    first = weights(0)
    torch.rand(5)
    assert _same(first, weights(0))
    assert not _same(first, weights(1))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resuming_at_every_epoch_equals_the_straight_run(task, tmp_path, optimizer):
    fields = recipe(optimizer=optimizer, lr=0.02, schedule="cosine", augment="crop-flip", select="best")
    straight_model, mask = task.build(), _half(task.build())
    straight = train_classifier(task, straight_model, fields, mask=mask, callback=Counting())
    for stop in range(1, fields["epochs"]):
        directory = tmp_path / f"{stop}"
        with pytest.raises(Stopped):
            arguments = {"mask": mask, "callback": Counting(), "checkpointer": StopsAfter(directory, stop)}
            train_classifier(task, task.build(), fields, **arguments)
        model = task.build()
        arguments = {"mask": mask, "callback": Counting(), "checkpointer": Checkpointer(directory, 1e9, "run")}
        resumed = train_classifier(task, model, fields, **arguments)
        assert _same(_bits(straight_model), _bits(model))
        assert resumed.columns == straight.columns and resumed.metrics == straight.metrics
        assert resumed.steps == straight.steps


def test_a_kill_in_the_middle_of_an_epoch_loses_only_that_epoch(task, tmp_path):
    """A child process is killed at its 11th of 16 steps (the third epoch); the next attempt ends with the same bits."""
    fields = recipe(augment="shift")
    straight = task.build()
    train_classifier(task, straight, fields)

    class Killed(Callback):
        steps = 0

        def before_step(self, model, batch):
            self.steps += 1
            if self.steps == 11:
                os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        train_classifier(task, task.build(), fields, callback=Killed(), checkpointer=Checkpointer(tmp_path, 0, "run"))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    checkpointer = Checkpointer(tmp_path, 1e9, "run")
    assert checkpointer.load()["done"] == 2
    model = task.build()
    train_classifier(task, model, fields, checkpointer=checkpointer)
    assert _same(_bits(straight), _bits(model))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_pruned_weights_are_zero_after_every_step(task, optimizer):
    model = task.build()
    mask = _half(model)
    fields = recipe(optimizer=optimizer, momentum=0.9, nesterov=True, weight_decay=0.01, lr=0.02, epochs=2)

    class Watching(Callback):
        steps = 0

        def after_step(self, model):
            self.steps += 1
            parameters = dict(model.named_parameters())
            assert all(not parameters[name][~kept].any() for name, kept in mask.items())

    watching = Watching()
    train_classifier(task, model, fields, mask=mask, callback=watching)
    assert watching.steps == 8
    assert all(dict(model.named_parameters())[name][kept].any() for name, kept in mask.items())


def test_leaky_enforcement_only_decays_pruned_weights(task):
    model, initial = task.build(), dict(task.build().named_parameters())
    mask = _half(model)
    fields = recipe(enforce="leaky", lr=0.1, weight_decay=0.01, momentum=0.0, epochs=2)
    train_classifier(task, model, fields, mask=mask)
    factor = (1 - 0.1 * 0.01) ** 8
    for name, kept in mask.items():
        weight = dict(model.named_parameters())[name].detach()
        assert torch.allclose(weight[~kept], initial[name].detach()[~kept] * factor, rtol=1e-5)


WAYS = [{"channels_last": True}, {"amp": "bf16"}, {"channels_last": True, "amp": "bf16"}]


@pytest.mark.parametrize("way", WAYS)
def test_other_layouts_and_bfloat16_keep_masks_exact_and_weights_float32(task, way):
    model, plain = task.build(), task.build()
    mask = _half(model)

    class Watching(Callback):
        def after_step(self, model):
            parameters = dict(model.named_parameters())
            assert all(not parameters[name][~kept].any() for name, kept in mask.items())
            assert all(parameter.dtype == parameter.grad.dtype == torch.float32 for parameter in parameters.values())
            last = parameters["features.4.weight"].is_contiguous(memory_format=torch.channels_last)
            assert last == way.get("channels_last", False)

    fields = recipe(epochs=1, lr=0.01)
    result = train_classifier(task, model, fields | way, mask=mask, callback=Watching())
    reference = train_classifier(task, plain, fields, mask=mask)
    assert all(parameter.is_contiguous() for parameter in model.parameters())
    assert all(not dict(model.named_parameters())[name][~kept].any() for name, kept in mask.items())
    assert not _same(_bits(model), _bits(plain)) or "amp" not in way
    near = 0.02 if "amp" in way else 1e-4
    assert result.columns["loss"] == pytest.approx(reference.columns["loss"], rel=near)
    assert result.metrics["loss"] == pytest.approx(reference.metrics["loss"], rel=near)


@pytest.mark.parametrize("way", [*WAYS, {"evaluate": "augmented"}])
def test_resuming_is_exact_in_every_layout_and_precision(task, tmp_path, way):
    fields = recipe(epochs=3, augment="crop-flip", select="best") | way
    straight_model, mask = task.build(), _half(task.build())
    straight = train_classifier(task, straight_model, fields, mask=mask)
    with pytest.raises(Stopped):
        train_classifier(task, task.build(), fields, mask=mask, checkpointer=StopsAfter(tmp_path, 2))
    model = task.build()
    resumed = train_classifier(task, model, fields, mask=mask, checkpointer=Checkpointer(tmp_path, 1e9, "run"))
    assert _same(_bits(straight_model), _bits(model))
    assert resumed.columns == straight.columns and resumed.metrics == straight.metrics


def test_training_sees_random_windows_and_evaluation_the_central_one_unless_it_is_augmented_too(data):
    task = Classify(data, MODEL, 0, crop=6)
    seen = {True: [], False: []}

    class Watching(Callback):
        def forward(self, model, x):
            seen[model.training].extend(x.detach().clone())
            return model(x)

    def shown(**fields):
        seen[True].clear(), seen[False].clear()
        train_classifier(task, task.build(), recipe(epochs=1, **fields), callback=Watching())
        return [{image.numpy().tobytes() for image in seen[training]} for training in (True, False)]

    central = {image.numpy().tobytes() for split in ("val", "test") for image in next(task.fold(split, 99))[0]}
    drawn, plain = shown(augment="crop-flip")
    middle = {image.numpy().tobytes() for image in next(task.fold("train", 99))[0]}
    assert plain == central and len(drawn - middle) > 40  # 17 of 18 windows are not the centre as it is
    again, random = shown(augment="crop-flip", evaluate="augmented")
    assert again == drawn and len(random - central) > 30
    assert shown(augment="none") == [middle, central]


def test_hooks_come_in_order_and_reach_the_result(task):
    counting = Counting()
    result = train_classifier(task, task.build(), recipe(epochs=1), callback=counting)
    assert counting.calls == ["before", "forward", "after"] * 4
    assert result.metrics["calls"] == 12 and len(result.columns["draw"]) == 1
    assert result.mask["gate"].tolist() == [True, False]


def test_the_best_epoch_is_chosen_by_validation(easy):
    """A callback ruins the network after its last epoch: "best" tests an epoch before it, "last" the ruin."""

    class Ruins(Callback):
        def after_epoch(self, model, epoch):
            if epoch == 9:
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter.zero_()
            return {}

    last = train_classifier(easy, easy.build(), recipe(epochs=10), callback=Ruins())
    best = train_classifier(easy, easy.build(), recipe(epochs=10, select="best"), callback=Ruins())
    assert last.columns == best.columns
    assert last.metrics["val_top1"] == last.columns["top1_val"][-1] == pytest.approx(1 / 3)
    assert best.metrics["val_top1"] == max(best.columns["top1_val"]) > 0.9
    assert best.metrics["top1"] > 0.9


def test_choosing_by_validation_needs_a_validation_split(tmp_path):
    task = Classify(write_squares(tmp_path / "squares.h5", val=0), MODEL, 0)
    with pytest.raises(ConfigError, match=r"recipe\.select"):
        train_classifier(task, task.build(), recipe(select="best"))
    result = train_classifier(task, task.build(), recipe(epochs=1))
    assert result.metrics["val_top1"] is None and math.isnan(result.columns["top1_val"][0])


def test_the_test_split_is_evaluated_once_and_at_the_end(task, monkeypatch):
    asked = []
    fold = Classify.fold
    monkeypatch.setattr(
        Classify, "fold", lambda self, split, *rest, **more: asked.append(split) or fold(self, split, *rest, **more)
    )
    train_classifier(task, task.build(), recipe(epochs=3, select="best"))
    assert asked.count("test") == 1 and asked[:6] == ["train", "val"] * 3


def test_label_smoothing_keeps_the_training_loss_above_its_own_entropy(easy):
    plain, smooth = (
        train_classifier(easy, easy.build(), recipe(epochs=15, label_smoothing=amount)) for amount in (0.0, 0.3)
    )
    entropy = -0.8 * math.log(0.8) - 2 * 0.1 * math.log(0.1)
    assert plain.columns["loss"][-1] < 0.1 and smooth.columns["loss"][-1] >= entropy


def test_evaluation_leaves_mode_and_norms_alone(task):
    model = task.build()
    before = _bits(model)
    first = evaluate(task, model, "val", 5)
    assert model.training and _same(before, _bits(model))
    assert evaluate(task, model, "val", 18)["loss"] == pytest.approx(first["loss"], rel=1e-6)
