"""Which image sides a generator can draw: torch-free, so that a configuration is refused before any job starts.

A ``side_rule`` has the name of a model and takes (every option of that model, side in pixels); it returns why the side
does not fit, or None. A model without a rule takes any side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunelib import registry
from prunelib.registry import register

REFLECT = 3  # a reflection pad of 2 needs at least 3 pixels, at the deepest level too


@register("side_rule", "hourglass")
def hourglass_side(options: Mapping[str, Any], side: int) -> str | None:
    """Say why a side does not fit: n levels halve n times, so side = m * 2^n with m >= 3."""
    levels = len(options["channels"])
    step, least = 2**levels, REFLECT * 2**levels
    if side % step == 0 and side >= least:
        return None
    return f"an hourglass of {levels} levels needs a multiple of {step}, at least {least} pixels."


@register("side_rule", "deep_decoder")
def deep_decoder_side(options: Mapping[str, Any], side: int) -> str | None:
    """Say why a side does not fit: the input doubles k times, so side = m * 2^k with m >= 1."""
    step = 2 ** options["k"]
    if side % step == 0 and side >= step:
        return None
    return f"a deep decoder with k = {options['k']} needs a multiple of {step} pixels."


def check_side(builder: str, options: Mapping[str, Any], side: int) -> str | None:
    """Return why a side (pixels) does not fit a model, or None; options that are not given have their defaults."""
    rule = registry.entries("side_rule").get(builder)
    if rule is None:
        return None
    defaults = {name: option.default for name, option in registry.entry("model", builder).options.items()}
    return rule.load()({**defaults, **options}, side)
