"""Which image sides a generator can draw, so that a picture of any size is padded to the next one; torch-free.

A ``side_rule`` has the name of a model and takes (every option of that model, side in pixels); it returns the smallest
side >= the given one that the model draws. A model without a rule takes any side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunelib import registry
from prunelib.registry import register

REFLECT = 3  # a reflection pad of 2 needs at least 3 pixels, at the deepest level too


@register("side_rule", "hourglass")
def hourglass_side(options: Mapping[str, Any], side: int) -> int:
    """Return the next side that fits: n levels halve n times, so it is m * 2^n with m >= 3."""
    step = 2 ** len(options["channels"])
    return max(REFLECT, -(-side // step)) * step


@register("side_rule", "deep_decoder")
def deep_decoder_side(options: Mapping[str, Any], side: int) -> int:
    """Return the next side that fits: the input doubles k times, so it is m * 2^k with m >= 1."""
    step = 2 ** options["k"]
    return max(1, -(-side // step)) * step


def fitting_side(builder: str, options: Mapping[str, Any], side: int) -> int:
    """Return the smallest side >= ``side`` (pixels) that a model draws; options not given have their defaults."""
    rule = registry.entries("side_rule").get(builder)
    if rule is None:
        return side
    defaults = {name: option.default for name, option in registry.entry("model", builder).options.items()}
    return rule.load()({**defaults, **options}, side)
