"""Small networks in float64 and states on them; tasks on which small networks are searched."""

import pytest
import torch
from torch import nn

from prunelib.models.resnet import resnet_small
from prunelib.tasks.classify import Classify
from tests.tiny import write_squares

RESIDUAL = {"builder": "resnet_small", "options": {"width": 4, "blocks": 1}}
BARE = {"builder": "vgg", "options": {"plan": [8, "M", 8], "hidden": 8, "dropout": 0.5, "conv_bias": True}}


class Joined(nn.Module):
    """Everything the wiring must follow: bias without norm, grouped and depthwise, concatenation, flattening."""

    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(2, 4, 3, padding=1)
        self.right = nn.Conv2d(2, 2, 1)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.grouped = nn.Conv2d(6, 4, 1, groups=2)
        self.hidden = nn.Linear(16, 5)
        self.out = nn.Linear(5, 3)

    def forward(self, x):
        x = torch.cat([self.left(x), self.right(x)], 1)
        x = self.norm(self.depthwise(x))
        x = nn.functional.adaptive_avg_pool2d(self.grouped(x), 2)
        return self.out(self.hidden(x.flatten(1)))


def prepared(network):
    """The network in float64, with norms that are not at their initial values."""
    network = network.double()
    random = torch.Generator().manual_seed(7)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=random, dtype=torch.float64))
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=random, dtype=torch.float64))
    return network


@pytest.fixture
def residual():
    torch.manual_seed(0)
    return prepared(resnet_small(3, 2, width=4, blocks=2))


@pytest.fixture
def joined():
    torch.manual_seed(0)
    return prepared(Joined())


@pytest.fixture
def batch():
    random = torch.Generator().manual_seed(1)
    x = torch.randn(16, 2, 8, 8, generator=random, dtype=torch.float64)
    return x, torch.randint(0, 3, (16,), generator=random)


@pytest.fixture
def draw():
    return torch.Generator().manual_seed(2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp("data") / "squares.h5")


@pytest.fixture(params=[RESIDUAL, BARE], ids=["residual", "vgg"])
def task(data, request):
    return Classify(data, request.param, 0)
