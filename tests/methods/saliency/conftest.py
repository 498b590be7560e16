"""Linear problems whose scores can be worked out by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn


class Linear:
    """Fit targets (n, 1) by inputs (n, d) times one weight vector; the loss is half the mean squared error."""

    kind = "linear"
    seed = 0

    def __init__(self, weights, inputs, targets):
        self.weights, self.inputs, self.targets = (torch.tensor(part) for part in (weights, inputs, targets))
        self.example = self.inputs[:1]

    def build(self):
        model = nn.Linear(len(self.weights), 1, bias=False)
        with torch.no_grad():
            model.weight.copy_(self.weights)
        return model

    def batches(self, purpose, count):
        size = len(self.inputs) // count
        for index in range(count):
            part = slice(index * size, (index + 1) * size)
            yield self.inputs[part], self.targets[part]

    def loss(self, output, target):
        return 0.5 * ((output - target) ** 2).mean()


@pytest.fixture
def linear():
    """Eight points in six dimensions; analytic gradient g and Hessian h beside the task."""
    random = torch.Generator().manual_seed(2)
    inputs, targets = torch.randn(8, 6, generator=random), torch.randn(8, 1, generator=random)
    weights = 0.05 * torch.randn(6, generator=random)
    hessian = inputs.T @ inputs / 8
    gradient = hessian @ weights - inputs.T @ targets[:, 0] / 8
    task = Linear(weights.tolist(), inputs.tolist(), targets.tolist())
    return SimpleNamespace(task=task, weights=weights, gradient=gradient, hessian=hessian)
