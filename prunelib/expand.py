"""Short forms in a configuration: one entry for many labels (``each``), and patterns (``*``) in the grid's lists.

    tasks:
      "denoise-{data}-s{sigma}": {each: {data: [pepper, lena], sigma: [0.05, 0.1]}, kind: denoise, data: "{data}", ...}

stands for the four tasks denoise-pepper-s0.05 ... denoise-lena-s0.1; in the grid, "denoise-*-s0.1" then names two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

from prunelib.errors import ConfigError, brief, nearest

LABELLED = ("data", "models", "methods", "tasks")
LARGEST, DEEPEST = 1_000_000, 50  # values of a configuration with aliases written out, and their depth
LABELS = 100_000  # that one entry may stand for
PLACE = re.compile(r"\{(\w+)\}")


def expanded(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a raw configuration with every short form written out; what is no short form stays as it is.

    Raises ConfigError for a malformed ``each``, a placeholder it does not name, a label that comes out twice, or a
    pattern that fits no label.
    """
    _check_size(raw)
    full = dict(raw)
    for section in LABELLED:
        if isinstance(full.get(section), Mapping):
            full[section] = _written_out(section, full[section])
    grid = full.get("grid")
    if isinstance(grid, Mapping):
        full["grid"] = {part: _blocks(f"grid.{part}", blocks, full) for part, blocks in grid.items()}
    return full


def _check_size(raw: Any) -> None:
    """Refuse what YAML's aliases can stand for: values without end, deep ones, ones in circles.

    Counted is what would be there with every alias written out.
    """
    sizes: dict[int, int] = {}

    def size(value: Any, depth: int) -> int:
        if not isinstance(value, Mapping | list | tuple | set):
            if isinstance(value, int) and value.bit_length() > 64:
                raise ConfigError(f"The configuration holds a number of {value.bit_length()} bits; 64 are enough.")
            return 1
        if depth > DEEPEST:
            raise ConfigError(f"The configuration is nested over {DEEPEST} levels deep, or in a circle.")
        if id(value) not in sizes:
            items = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
            sizes[id(value)] = 1 + sum(size(item, depth + 1) for item in items)
        return sizes[id(value)]

    if size(raw, 0) > LARGEST:
        raise ConfigError(f"The configuration's aliases stand for over {LARGEST:,} values.")


def _written_out(section: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    for label, given in entries.items():
        many = isinstance(given, Mapping) and "each" in given
        for name, entry in _combinations(f"{section}.{label}", label, given) if many else [(label, given)]:
            if name in labels:
                raise ConfigError(
                    f"{section}.{label}: makes the label '{name}' twice; name every list of 'each' in it."
                )
            labels[name] = entry
    return labels


def _combinations(where: str, label: str, given: Mapping[str, Any]) -> list[tuple[str, Any]]:
    each = given["each"]
    if not isinstance(each, Mapping) or not all(isinstance(values, list) and values for values in each.values()):
        raise ConfigError(
            f"{where}.each: got {brief(each)}; it must be a mapping of names to lists that are not empty."
        )
    count = math.prod(map(len, each.values()))
    if count > LABELS:
        raise ConfigError(f"{where}.each: stands for {count:,} labels; at most {LABELS:,} are written out.")
    rest = {key: value for key, value in given.items() if key != "each"}
    chosen = [dict(zip(each, values, strict=True)) for values in product(*each.values())]
    return [(str(_filled(label, names, where)), _filled(rest, names, where)) for names in chosen]


def _filled(value: Any, names: Mapping[str, Any], where: str) -> Any:
    """Put chosen values in place of {name}; a text that is nothing but a placeholder becomes the value itself."""
    if isinstance(value, Mapping):
        return {key: _filled(item, names, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, names, where) for item in value]
    if not isinstance(value, str):
        return value
    for name in PLACE.findall(value):
        if name not in names:
            raise ConfigError(f"{where}: '{{{name}}}' is not in its 'each'.{nearest(name, names)}")
    alone = PLACE.fullmatch(value)
    return names[alone[1]] if alone else PLACE.sub(lambda found: str(names[found[1]]), value)


def _blocks(where: str, blocks: Any, full: Mapping[str, Any]) -> Any:
    if not isinstance(blocks, list):
        return blocks
    return [
        {key: _labels(f"{where}.{index}.{key}", value, full, key) for key, value in block.items()}
        if isinstance(block, Mapping)
        else block
        for index, block in enumerate(blocks)
    ]


def _labels(where: str, given: Any, full: Mapping[str, Any], key: str) -> Any:
    """Replace the patterns of one of a block's lists by the labels they fit, in the order of the configuration."""
    if key not in LABELLED or not isinstance(given, list):
        return given
    found: list[Any] = []
    for item in given:
        if isinstance(item, str) and "*" in item:
            fitting = [label for label in full.get(key) or {} if fnmatchcase(str(label), item)]
            if not fitting:
                raise ConfigError(
                    f"{where}: '{item}' fits no label of {key}. Allowed: {', '.join(full.get(key) or {})}."
                )
            found += [label for label in fitting if label not in found]
        else:
            found.append(item)
    return found
