"""Opening a task, the prunable parameters, the device."""

import pytest
import torch
from torch import nn

from prunelib.errors import ConfigError
from prunelib.masks.mask import Mask
from prunelib.tasks.base import alive, open_task, prunable, use_device
from tests.tiny import settings, write_squares


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.linear = nn.Linear(3, 4)
        self.conv = nn.ConvTranspose2d(2, 2, 3)
        self.tied = self.linear
        self.embedding = nn.Embedding(5, 6)


def test_prunable_are_convolution_and_linear_weights_in_definition_order():
    assert list(prunable(Mixed())) == ["linear.weight", "conv.weight"]


def test_open_task_follows_the_settings(tmp_path):
    task = open_task(settings(), write_squares(tmp_path / "squares.h5"))
    assert (task.kind, task.seed, task.batch_size, task.device.type) == ("classify", 0, 16, "cpu")


def test_a_missing_gpu_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert use_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="got 'cuda', but torch finds no GPU"):
        use_device("cuda")


def test_alive_checks_with_the_tasks_own_loss(tmp_path):
    task = open_task(settings(), write_squares(tmp_path / "squares.h5"))
    everything = Mask.ones(prunable(task.build()))
    nothing = Mask({name: ~kept for name, kept in everything.items()})
    assert alive(task, task.build(), everything).alive
    assert alive(task, task.build(), nothing).why == "the mask keeps nothing"
