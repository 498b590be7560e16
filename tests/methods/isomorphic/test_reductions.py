"""The authors' ratios on real architectures at random weights give the sizes that their code gives.

Figures: torch-pruning 1.6.1's own isomorphic pruning of the same architectures (its own counter of MACs), random
weights with norms drawn from U(0.5, 1.5), Taylor from two batches of four random images, even widths.
"""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from prunelib.measure.cost import macs_torch_pruning
from prunelib.methods.isomorphic.prune import Choices, prune
from prunelib.methods.isomorphic.ranking import Rules
from prunelib.methods.isomorphic.statistics import gather
from prunelib.models.build import build
from prunelib.seeds import generator

NORMS = nn.modules.batchnorm._BatchNorm | nn.LayerNorm
# builder, ratios of channels, heads, dimensions per head; GMACs before and after, million parameters after; seeds
TABLE = {
    "resnet50": ("timm", (0.26, 0.0, 0.0), (4.122, 2.206, 14.64), 1),
    "deit_tiny_distilled_patch16_224": ("timm", (0.25, 0.3, 0.3), (1.267, 0.622, 3.08), 1),
    "convnext_tiny": ("timm", (0.26, 0.0, 0.0), (4.458, 2.435, 15.77), 1),
    "swin_tiny_patch4_window7_224": ("timm", (0.47, 0.0, 0.47), (4.513, 1.282, 7.98), 1),
    # The widths that its few sets end with depend on the weights: single draws differ by several percent.
    "mobilenetv2_100": ("timm", (0.27, 0.0, 0.0), (0.307, 0.176, 2.09), 5),
    "mobilenet_v2": ("torchvision", (0.27, 0.0, 0.0), (0.320, 0.201, 2.08), 5),
}


def pruned(builder, name, ratio, seed=0, **rules):
    """Return the dense network, the pruned one and the record, for drawn weights and images."""
    model = build({"builder": builder, "options": {"name": name}}, seed, classes=1000, in_channels=3).eval()
    random = generator(seed, "norms")
    for module in model.modules():
        if isinstance(module, NORMS):
            module.weight.data = torch.rand(module.weight.shape, generator=random) + 0.5
    batches = [
        (torch.randn(4, 3, 224, 224, generator=random), torch.randint(1000, (4,), generator=random)) for _ in range(2)
    ]
    task = SimpleNamespace(
        example=batches[0][0][:1], batches=lambda purpose, count: batches[:count], loss=functional.cross_entropy
    )
    choices = Choices(Rules("isomorphic", 2, **rules), "taylor", "mean", "upstream", 2, rounds=1, latency_batch=1)
    statistics = gather(model, task, 2, squares=False)
    budget = {"kind": "ratio", "value": ratio}
    return model, *prune(model, task, budget, choices, generator(seed, "ties"), statistics), task.example


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_the_authors_ratios_give_their_reductions(name):
    builder, (ratio, heads, head_dims), (before, after, millions), seeds = TABLE[name]
    found = []
    for seed in range(seeds):
        dense, small, record, example = pruned(
            builder, name, ratio, seed, heads=heads / ratio, head_dims=head_dims / ratio
        )
        assert macs_torch_pruning(dense, example) / 1e9 == pytest.approx(before, rel=0.003)
        found.append((macs_torch_pruning(small, example) / 1e9, record["pruned"]["parameters"] / 1e6))
    gmacs, mparameters = (sum(values) / seeds for values in zip(*found, strict=True))
    assert gmacs == pytest.approx(after, rel=0.02)
    assert mparameters == pytest.approx(millions, rel=0.02)


@pytest.mark.slow
def test_a_ratio_of_nine_tenths_leaves_no_layer_whole():
    """torch-pruning leaves the inner convolutions that matter least at full width, as it can't empty them."""
    _, small, record, example = pruned("timm", "resnet50", 0.9, max_ratio=0.95)
    assert all(row["after"] <= 0.5 * row["before"] for row in record["groups"])
    assert all(row["after"] >= 0.05 * row["before"] for row in record["groups"])
    floors = [row["name"] for row in record["groups"] if row["at_floor"]]
    assert 0 < len(floors) < len(record["groups"])
    functional.cross_entropy(small(example), torch.tensor([3])).backward()
