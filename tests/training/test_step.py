"""One step: parts add up to their batch, averages and teachers follow their formulas, frozen modules stay."""

import math

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from prunelib.errors import ArtefactError, ConfigError
from prunelib.methods.callbacks import Callback
from prunelib.storage.checkpoint import Checkpointer
from prunelib.storage.weights import load_weights
from prunelib.tasks.classify import Classify
from prunelib.training.classify import train_classifier
from prunelib.training.distributed import World
from prunelib.training.objective import Objective
from prunelib.training.recipes import optimizer, rate
from prunelib.training.run import train_run
from prunelib.training.running import Running
from tests.tiny import LEARNS_FAST, MODEL, recipe, settings, write_squares
from tests.training.test_classify import Stopped, StopsAfter

VIT = {"builder": "vit", "options": {"image_side": 8, "patch": 4, "width": 16, "depth": 2, "heads": 2}}
MIX = {"mixup": 0.8, "cutmix": 1.0, "prob": 1.0, "switch": 0.5, "mode": "batch"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp("data") / "squares.h5", channels=3)


@pytest.fixture(scope="module")
def task(data):
    return Classify(data, VIT, 0)


def state_after(task, model=None, teacher=None, **fields):
    model = model or task.build()
    result = train_classifier(task, model, recipe(**fields), teacher=teacher)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, result


def test_parts_add_up_to_their_batch(task):
    whole, first = state_after(task, batch_size=20, epochs=2)
    parts, second = state_after(task, batch_size=20, epochs=2, micro_batch=5)
    assert all(torch.allclose(whole[name], parts[name], atol=1e-6) for name in whole)
    assert first.steps == second.steps == 6 and first.columns["top1"] == second.columns["top1"]


def test_running_statistics_move_once_a_step_to_the_mean_of_the_parts():
    norm = nn.BatchNorm1d(2)
    parts = [torch.randn(5, 2), torch.randn(5, 2), torch.randn(2, 2)]
    running = Running(norm)
    running.begin()
    for part in parts:
        norm(part)
        running.after_part(len(part) / 12)
    running.end(World())
    means = sum(part.mean(0) * len(part) / 12 for part in parts)
    variances = sum(part.var(0) * len(part) / 12 for part in parts)
    assert torch.allclose(norm.running_mean, 0.1 * means) and norm.num_batches_tracked == 1
    assert torch.allclose(norm.running_var, 0.9 + 0.1 * variances)


def test_the_average_is_the_exponential_one_and_is_what_is_judged(task):
    seen = []
    update = timm.utils.ModelEmaV3.update

    def noted(self, model, step=None):
        seen.append(model.head.bias.detach().clone())
        update(self, model, step)

    start = task.build().head.bias.detach().clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm.utils.ModelEmaV3, "update", noted)
        state, result = state_after(task, ema=0.7, epochs=2)
    expected = start
    for bias in seen:
        expected = 0.7 * expected + 0.3 * bias
    assert len(seen) == 8 and torch.allclose(state["head.bias"], expected, atol=1e-6)
    plain, _ = state_after(task, epochs=2)
    assert torch.equal(seen[-1], plain["head.bias"])  # the average changes nothing in training
    assert result.columns["top1_val"][-1] == result.metrics["val_top1"]


@pytest.mark.parametrize("way", [{"ema": 0.9}, {"mix": MIX, "micro_batch": 8, "freeze": ["patch_embed"]}])
def test_resuming_is_exact_with_averages_mixing_and_parts(task, tmp_path, way):
    fields = {**way, "epochs": 4, "select": "best", "lr_per": "step", "schedule": "cosine", "transform": {}}
    straight, first = state_after(task, **fields)
    with pytest.raises(Stopped):
        train_classifier(task, task.build(), recipe(**fields), checkpointer=StopsAfter(tmp_path, 3))
    model = task.build()
    second = train_classifier(task, model, recipe(**fields), checkpointer=Checkpointer(tmp_path, 1e9, "run"))
    assert all(torch.equal(straight[name], tensor) for name, tensor in model.state_dict().items())
    assert second.columns == first.columns and second.metrics == first.metrics


def test_the_gradient_is_cut_down_to_the_norm(task):
    (start, _), (state, _) = (
        state_after(task, epochs=0),
        state_after(task, epochs=1, batch_size=60, clip_norm=0.01, momentum=0.0, weight_decay=0.0, lr=0.5),
    )
    moved = math.sqrt(sum(float((state[name] - start[name]).square().sum()) for name in start))
    assert moved == pytest.approx(0.5 * 0.01, rel=1e-3)


def test_frozen_modules_keep_weights_and_statistics_and_are_released_at_the_end(data):
    task = Classify(data, MODEL, 0)
    model = task.build()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state, _ = state_after(task, model, freeze=["features.[01]"], epochs=2, weight_decay=0.1)
    still = [name for name in start if name.startswith(("features.0.", "features.1."))]
    assert len(still) > 4 and all(torch.equal(state[name], start[name]) for name in still)
    assert not torch.equal(state["features.4.weight"], start["features.4.weight"])
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())


def test_a_pattern_without_a_module_is_named(task):
    with pytest.raises(ConfigError, match=r"recipe\.freeze: 'stem\*' is no module .* patch_embed"):
        state_after(task, freeze=["stem*"])


def test_decay_of_matrices_alone_leaves_vectors_and_tokens_out(task):
    model = task.build()
    groups = optimizer(recipe(decay="matrices", weight_decay=0.1), model).param_groups
    decayed = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in decayed}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert "pos_embed" not in names and "cls_token" not in names and "blocks.0.attn.qkv.weight" in names
    assert all(dict(model.named_parameters())[name].ndim > 1 for name in names)
    (whole,) = optimizer(recipe(weight_decay=0.1), model).param_groups
    assert whole["weight_decay"] == 0.1


def test_a_rate_per_step_is_the_schedule_at_the_steps_time(task):
    fields = {"schedule": "cosine", "lr_per": "step", "epochs": 2, "warmup_epochs": 1}
    found = []

    class Watching(Callback):
        def begin(self, model, optimizer):
            self.optimizer = optimizer

        def before_step(self, model, batch):
            found.append(self.optimizer.param_groups[0]["lr"])

    train_classifier(task, task.build(), recipe(**fields), callback=Watching())
    assert found == [rate(recipe(**fields), step / 4) for step in range(8)]
    assert found[0] < found[1] < found[3] and found[5] < found[4] == 0.05


def _objective(teacher=None, **fields):
    return Objective(recipe(**fields), 3, 0, teacher)


class Says(nn.Module):
    """A teacher that is sure of one class and counts what it is asked."""

    def __init__(self, label):
        super().__init__()
        self.label, self.seen = label, []

    def forward(self, x):
        self.seen.append(x)
        return functional.one_hot(torch.full((len(x),), self.label), 3).float() * 9


def test_hard_distillation_on_one_head_and_on_two():
    first, last = torch.randn(6, 3), torch.randn(6, 3)
    labels, images = torch.tensor([0, 1, 2, 0, 1, 2]), torch.rand(6, 3, 8, 8)
    objective = _objective(Says(2), label_smoothing=0.1, distill={"teacher": "x", "share": 0.25})
    own = functional.cross_entropy(first, labels, label_smoothing=0.1)
    taught = [functional.cross_entropy(head, torch.full((6,), 2), label_smoothing=0.1) for head in (first, last)]
    loss, logits = objective(first, images, labels)
    assert loss.item() == pytest.approx((0.75 * own + 0.25 * taught[0]).item()) and logits is first
    loss, logits = objective((first, last), images, labels)
    assert loss.item() == pytest.approx((0.75 * own + 0.25 * taught[1]).item()) and logits is first


def test_a_distilled_network_learns_what_its_teacher_says(data):
    task = Classify(data, LEARNS_FAST, 0)
    model = timm.models.VisionTransformerDistilled(
        img_size=8, patch_size=4, embed_dim=16, depth=1, num_heads=2, num_classes=3
    )
    teacher, forwards = Says(1), []
    model.register_forward_hook(lambda module, given, output: forwards.append((module.training, output)))
    fields = recipe(epochs=3, optimizer="adamw", lr=0.01, distill={"teacher": "x", "share": 0.9}, mix=MIX)
    train_classifier(task, model, fields, teacher=teacher)
    assert all(isinstance(output, tuple) == training for training, output in forwards)
    assert not model.distilled_training and not teacher.training and len(teacher.seen) == 12
    said = torch.cat([output.argmax(1) for training, output in forwards if not training])[-30:]
    assert (said == 1).float().mean() > 0.9


def test_a_teacher_is_given_where_the_recipe_has_one_and_only_there(task):
    with pytest.raises(ConfigError, match=r"recipe\.distill"):
        state_after(task, distill={"teacher": "x"})
    with pytest.raises(ConfigError, match=r"recipe\.distill"):
        state_after(task, teacher=Says(0))


def test_mixed_targets_are_the_labels_shares():
    objective = _objective(mix={**MIX, "cutmix": 0.0}, label_smoothing=0.1)
    images, labels = torch.rand(7, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    mixed, targets = objective.mixed(images, labels, 0, 1, 0)
    again, _ = objective.mixed(images, labels, 0, 1, 0)
    other, _ = objective.mixed(images, labels, 0, 2, 0)
    assert torch.equal(mixed, again) and not torch.equal(mixed, other)
    assert torch.allclose(targets.sum(1), torch.ones(7))
    smooth = functional.one_hot(labels, 3) * 0.9 + 0.1 / 3
    share = float((mixed[0] - images[5]).flatten() @ (images[0] - images[5]).flatten()) / float(
        (images[0] - images[5]).square().sum()
    )
    assert 0 < share < 1 and torch.allclose(mixed[0], share * images[0] + (1 - share) * images[5], atol=1e-6)
    assert torch.allclose(targets[0], share * smooth[0] + (1 - share) * smooth[5], atol=1e-6)
    assert torch.equal(mixed[6], images[6]) and torch.allclose(targets[6], smooth[6])  # the odd one stays


def test_mixing_takes_the_place_of_smoothing_once():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    smooth = functional.one_hot(labels, 3) * 0.7 + 0.1
    loss, _ = _objective(label_smoothing=0.3)(logits, torch.rand(4, 3, 8, 8), labels)
    given, _ = _objective(label_smoothing=0.3)(logits, torch.rand(4, 3, 8, 8), smooth)
    assert loss.item() == pytest.approx(given.item(), rel=1e-6)


@pytest.mark.parametrize("fields", [{"micro_batch": 4}, {"ema": 0.9}, {"mix": MIX}, {"freeze": ["features"]}])
def test_methods_that_prune_while_training_get_whole_plain_batches(task, fields):
    with pytest.raises(ConfigError, match=rf"recipe\.{next(iter(fields))}: a method that prunes while training"):
        train_classifier(task, task.build(), recipe(**fields), callback=Callback())


def _run(data, folder, **fields):
    teacher = fields.pop("weights", None)
    outputs = {name: folder / name for name in ("weights", "history", "metrics")}
    described = settings(recipe=recipe(epochs=1), model=VIT)
    described["recipe"] |= fields
    rest = {"mask": None, "start": None, "structure": None, "checkpoint_seconds": 1e9, "device": "cpu"}
    train_run(described, data, outputs, teacher=teacher, checkpoints=folder / "checkpoints", **rest)
    return load_weights(outputs["weights"])


def test_a_run_is_taught_by_the_weights_of_another_run(data, tmp_path):
    _run(data, tmp_path / "teacher")
    given = tmp_path / "teacher" / "weights"
    distill = {"teacher": VIT, "run": "dense", "share": 0.5}
    plain, taught = _run(data, tmp_path / "plain"), _run(data, tmp_path / "taught", distill=distill, weights=given)
    assert not torch.equal(plain["head.weight"], taught["head.weight"])
    with pytest.raises(ConfigError, match=r"recipe\.distill: its teacher is untrained"):
        _run(data, tmp_path / "none", distill=distill)
    with pytest.raises(ArtefactError, match="not weights of the recipe's teacher"):
        _run(data, tmp_path / "other", distill=distill | {"teacher": LEARNS_FAST}, weights=given)
