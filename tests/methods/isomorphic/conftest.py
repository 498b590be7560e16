"""Small trained-looking networks and a task without a data file."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from prunelib.models.build import build
from prunelib.seeds import generator

torch.set_num_threads(1)

RESNET = {"builder": "resnet_small", "options": {"width": 8, "blocks": 2}}
VIT = {
    "builder": "vit",
    "options": {"image_side": 8, "patch": 2, "width": 24, "depth": 3, "heads": 3, "mlp_ratio": 2.0},
}


class SmallTask:
    """Classify random 8 × 8 grey images into 10 classes with one of two small networks."""

    kind, classes, channels = "classify", 10, 1

    def __init__(self, model: dict, seed: int = 0) -> None:
        self.model, self.seed, self.device = model, seed, torch.device("cpu")
        self.example = torch.randn(2, 1, 8, 8, generator=generator(0, "example"))

    def build(self) -> nn.Module:
        return build(self.model, self.seed, classes=10, in_channels=1)

    def batches(self, purpose: str, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        random = generator(self.seed, purpose, "batches")
        for _ in range(count):
            yield torch.randn(16, 1, 8, 8, generator=random), torch.randint(10, (16,), generator=random)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(output, target)


def unlike_start_(model: nn.Module) -> nn.Module:
    """Give norms, biases and running statistics values that differ from channel to channel, as training does."""
    random = generator(0, "unlike")
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.dim() == 1:
            tensor.data = torch.rand(tensor.shape, generator=random) + 0.5
    return model


@pytest.fixture
def resnet_task() -> SmallTask:
    return SmallTask(RESNET)


@pytest.fixture
def vit_task() -> SmallTask:
    return SmallTask(VIT)


@pytest.fixture
def resnet(resnet_task: SmallTask) -> nn.Module:
    return unlike_start_(resnet_task.build()).eval()


@pytest.fixture
def vit(vit_task: SmallTask) -> nn.Module:
    return unlike_start_(vit_task.build()).eval()
