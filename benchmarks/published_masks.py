"""Masks made up to the layer counts of the four published OES masks (5 % of 3 008 867 parameters kept).

Channels per norm and weights per convolution are the published figures (OES, ICML 2024, its released masks, sigma 0.1);
which ones they are is drawn at random, weights between live channels only. An upsampled norm keeps the channels of the
norm that feeds it, norms' shifts and biases go (but the head's), as in all four published masks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from prunelib.masks.mask import Mask
from prunelib.models.hourglass import IMAGE_CHANNELS, INPUT_CHANNELS, hourglass
from prunelib.seeds import generator

# By photograph: channels kept by each norm, encoder levels 0-5 (two each), then decoder levels 5-0 (their last norm).
NORMS = {
    "baboon": [9, 6, 12, 13, 20, 19, 50, 62, 69, 86, 93, 88, 83, 93, 90, 38, 25, 16],
    "barbara": [11, 6, 11, 13, 25, 31, 58, 71, 75, 101, 100, 85, 96, 84, 77, 37, 18, 15],
    "lena": [7, 5, 11, 14, 22, 27, 49, 63, 74, 99, 101, 96, 79, 68, 76, 37, 17, 14],
    "pepper": [6, 6, 13, 15, 26, 26, 44, 56, 73, 90, 100, 84, 91, 71, 72, 28, 19, 16],
}
# Weights kept by each convolution in the same order, and the head's; values kept of the head's bias.
WEIGHTS = {
    "baboon": [
        899,
        146,
        211,
        269,
        470,
        785,
        1236,
        2143,
        3161,
        5379,
        11449,
        25741,
        24879,
        27218,
        27415,
        12404,
        3703,
        1614,
        31,
    ],
    "barbara": [
        1002,
        177,
        223,
        340,
        504,
        1030,
        1512,
        2523,
        3683,
        8409,
        13200,
        23096,
        27497,
        28527,
        22981,
        10594,
        2711,
        1096,
        26,
    ],
    "lena": [
        848,
        118,
        253,
        539,
        606,
        1075,
        2410,
        4128,
        6776,
        12578,
        22383,
        26590,
        22609,
        18201,
        16585,
        9964,
        2555,
        964,
        27,
    ],
    "pepper": [
        868,
        134,
        331,
        561,
        827,
        1225,
        2165,
        3978,
        6845,
        11025,
        19029,
        26521,
        25405,
        22328,
        17083,
        7495,
        2202,
        1190,
        28,
    ],
}
HEAD_BIASES = {"baboon": 1, "barbara": 1, "lena": 2, "pepper": 2}


def published_like(name: str, seed: int = 0) -> Mask:
    """Return a mask of the full-size hourglass with the layer counts of one published mask, drawn from ``seed``."""
    return with_counts(NORMS[name], WEIGHTS[name], HEAD_BIASES[name], seed)


def with_counts(norms: Sequence[int], weights: Sequence[int], head_biases: int, seed: int = 0) -> Mask:
    """Return a mask of the full-size hourglass with given counts, in the order of ``NORMS`` and ``WEIGHTS``.

    Every live channel has at least one weight that feeds it and one that reads it.
    """
    random, model = generator(seed, "published-like mask"), hourglass()
    masks = {name: torch.zeros_like(tensor, dtype=torch.bool) for name, tensor in model.named_parameters()}
    live, channels, counts = torch.ones(INPUT_CHANNELS, dtype=torch.bool), iter(norms), iter(weights)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            masks[f"{name}.weight"][:] = live
        elif isinstance(layer, nn.Conv2d):
            wide = layer.out_channels
            fed = _highest(torch.rand(wide, generator=random), wide if name == "head" else next(channels))
            masks[f"{name}.weight"] = _between(fed, live, layer.weight.shape, next(counts), random)
            live = fed
    masks["head.bias"] = _highest(torch.rand(IMAGE_CHANNELS, generator=random), head_biases)
    return Mask(masks)


def _between(fed: Tensor, live: Tensor, shape: torch.Size, count: int, random: torch.Generator) -> Tensor:
    """Draw ``count`` weights of a convolution between live channels, at least one of each channel among them."""
    scores = torch.rand(shape, generator=random) * fed[:, None, None, None] * live[None, :, None, None]
    best_of_output = scores == scores.amax((1, 2, 3), keepdim=True)
    best_of_input = scores == scores.amax((0, 2, 3), keepdim=True)
    return _highest(scores + ((best_of_output | best_of_input) & (scores > 0)), count)


def _highest(scores: Tensor, count: int) -> Tensor:
    chosen = torch.zeros(scores.numel(), dtype=torch.bool)
    chosen[scores.flatten().topk(count).indices] = True
    return chosen.view(scores.shape)
