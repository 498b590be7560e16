"""Learning rates per epoch, exactly, and the optimizers a recipe names."""

import pytest
import torch
from torch import nn

from prunelib.training.recipes import optimizer, rate
from tests.tiny import recipe


def _rates(**fields):
    described = recipe(**fields)
    return [rate(described, epoch) for epoch in range(described["epochs"])]


def _torch_rates(make, lr, epochs):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = make(optimizer)
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_constant():
    assert _rates(schedule="constant", lr=0.3, epochs=5) == [0.3] * 5


def test_cosine_is_torchs():
    expected = _torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 30, eta_min=0.01), 0.5, 30)
    assert _rates(schedule="cosine", lr=0.5, min_lr=0.01, epochs=30) == pytest.approx(expected, rel=1e-12)


def test_step_is_torchs():
    expected = _torch_rates(lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.1), 0.5, 30)
    assert _rates(schedule="step", lr=0.5, step_epochs=7, gamma=0.1, epochs=30) == pytest.approx(expected, rel=1e-12)


def test_warm_up_rises_linearly_and_then_the_schedule_starts():
    rates = _rates(schedule="cosine", lr=0.4, warmup_epochs=3, epochs=13)
    assert rates[:4] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert rates[3:] == pytest.approx(_rates(schedule="cosine", lr=0.4, epochs=10))


@pytest.mark.parametrize(
    ("lr", "floor", "last", "frozen_from"), [(0.05, 5e-4, 7.8125e-4, 180), (0.1, 1e-5, 1.953125e-4, 270)]
)
def test_the_expanders_schedules_freeze_where_the_card_says(lr, floor, last, frozen_from):
    rates = _rates(schedule="step", lr=lr, min_lr=floor, gamma=0.5, step_epochs=30, epochs=300)
    assert rates[:30] == [lr] * 30 and rates[30] == lr / 2
    assert rates[frozen_from - 1] == pytest.approx(2 * last)
    assert rates[frozen_from:] == pytest.approx([last] * (300 - frozen_from))


@pytest.mark.parametrize(
    ("name", "kind"),
    {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "adadelta": "Adadelta"}.items(),
)
def test_optimizers(name, kind):
    made = optimizer(recipe(optimizer=name, lr=0.02, weight_decay=0.003, momentum=0.8, nesterov=True), nn.Linear(2, 2))
    assert type(made).__name__ == kind
    (group,) = made.param_groups
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (0.02, 0.003, 2)
    if name == "sgd":
        assert (group["momentum"], group["nesterov"]) == (0.8, True)
