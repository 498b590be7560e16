"""Accuracy: known logits give known figures, whatever the batches."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunelib.measure.accuracy import accuracy


def test_known_logits():
    logits = torch.tensor([[3.0, 2, 1, 0, -1, -2], [0, 1, 2, 3, 4, 5], [0, 0, 9, 0, 0, 0.0]])
    found = accuracy(lambda x: x, [(logits, torch.tensor([1, 5, 2]))])
    assert found["top1"] == pytest.approx(2 / 3)
    assert found["top3"] == 1.0 and found["top5"] == 1.0
    losses = [
        -2 + torch.logsumexp(logits[0], 0),
        -5 + torch.logsumexp(logits[1], 0),
        -9 + torch.logsumexp(logits[2], 0),
    ]
    assert found["loss"] == pytest.approx(sum(loss.item() for loss in losses) / 3, rel=1e-6)


@given(seed=st.integers(0, 99), size=st.integers(1, 12))
@settings(deadline=None, max_examples=20)
def test_the_cut_into_batches_does_not_matter(seed, size):
    random = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(11, 7, generator=random), torch.randint(0, 7, (11,), generator=random)
    whole = accuracy(lambda x: x, [(logits, labels)])
    cut = accuracy(lambda x: x, zip(logits.split(size), labels.split(size), strict=True))
    assert cut.pop("loss") == pytest.approx(whole.pop("loss"), rel=1e-6)
    assert cut == whole
    assert whole["top1"] <= whole["top3"] <= whole["top5"]


def test_top_k_means_nothing_with_k_classes_or_without_images():
    found = accuracy(lambda x: x, [(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))])
    assert (found["top3"], found["top5"]) == (None, None)
    assert found["loss"] == pytest.approx(math.log(3))
    assert set(accuracy(lambda x: x, []).values()) == {None}
