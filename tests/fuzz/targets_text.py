"""Readers of text: configurations (YAML) and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prunelib.config import load, read
from prunelib.runs import Grid
from prunelib.storage.files import read_json
from tests.fuzz.targets import Target

CONFIG = b"""scale: x
seeds: [0, 1]
data: {d: {source: photo, name: chelsea, side: 48}}
tasks: {"t-{s}": {each: {s: [0.1, 0.2]}, kind: denoise, data: d, sigma: "{s}"}}
models: {h: {builder: hourglass, channels: [4, 4]}}
methods: {g: {uses: gumbel, steps: 5}, i: {uses: imp, rounds: 2}}
recipes: {fit: {loop: fit_image, steps: 10}}
denoise: {density: 0.1}
grid:
  oes:
    - {tasks: ["t-*"], models: [h], methods: [g, i], recipe: fit, budgets: [density0.5], seeds: [0]}
"""


def read_config(path: Path) -> Any:
    """Read a configuration as every command does."""
    return Grid(load(read(path)))


def bomb(depth: int, place: str) -> bytes:
    """Aliases that stand for 9^depth items, somewhere in a configuration."""
    lines = ["x0: &a0 [y, y, y, y, y, y, y, y, y]"]
    lines += [f"x{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, depth)]
    return (
        "data: {" + ", ".join(line for line in lines) + "}\n" + place.replace("@", f"*a{depth - 1}")
    ).encode() + CONFIG[8:]


def hostile_configs(_: Path) -> list[bytes]:
    """Tags, bombs of aliases, depth, circles, numbers without end, grids without end."""
    found = [b"!!python/object/apply:os.system ['id']", b"a: !!python/name:os.system", b"--- &a [*a]", b"a: &a {b: *a}"]
    found += [
        b"[" * 20_000,
        b"{a: " * 5000,
        b"- " * 5000,
        b"a: 2001-99-99",
        b"a: " + b"9" * 5000,
        b"a: 0x" + b"f" * 9000,
    ]
    found += [b"? [a]\n: b", b"? {a: b}\n: c", b"a: !!binary x", b"a: !!timestamp x", b"a: !!int x", b"a: !!float x"]
    found += [
        b"<<: *x",
        b"<<: [1]",
        b"a: !!set {1}",
        b"a: !!omap [1]",
        b"a: !!pairs 5",
        b"\xff\xfe\x00",
        b"\x00",
        b"a: 1:99:99",
    ]
    found += [
        bomb(depth, place) for depth in (9, 30) for place in ("scale: @\n", "seeds: @\n", "recipes: @\n", "grid: @\n")
    ]
    found.append(CONFIG.replace(b"[0.1, 0.2]", b"[" + b"0.1, " * 300 + b"]").replace(b"{s: ", b"{s: [0], a: [1], b: "))
    many = ",".join(map(str, range(3000))).encode()
    found.append(CONFIG.replace(b"s: [0.1, 0.2]", b"s: [%s], q: [%s], r: [%s]" % (many, many, many)))
    found.append(CONFIG.replace(b"seeds: [0]", b"seeds: [%s]" % many))
    found.append(CONFIG.replace(b"rounds: 2", b"rounds: 1000000000"))
    for text in (b"self", b"loc", b"[key]", b"fit_image", b"<<"):
        found.append(CONFIG + text + b": 5\n")
    found.append(CONFIG.replace(b"steps: 10", b"steps: 0x" + b"f" * 5000))
    found.append(CONFIG.replace(b"kind: denoise", b"kind: *a").replace(b"scale: x", b"scale: &a denoise"))
    for old, new in (
        (b"tasks: {", b"tasks: {5: {}, "),
        (b"data: {", b"data: {d2: [], "),
        (b"grid:\n  oes:", b"grid:\n  [oes]:"),
    ):
        found.append(CONFIG.replace(old, new, 1))
    return found


WORDS = (
    "<<: ? [ { null ~ 0x each: ' \" 2001-13-01 .inf .nan {s} {x} * *a &a !!set !!binary !!python/object/apply:os.system"
)
TAGS = (*(f"{word} ".encode() for word in WORDS.split()), b"|\n", b"- ", b"...\n", b"---\n", b"%YAML 9.9\n", b"\t")


def jsons(_: Path) -> list[bytes]:
    """A small JSON file."""
    return [b'{"a": [1, 2.5, "x", null, true], "b": {"c": "\\u00fc"}}']


def hostile_json(_: Path) -> list[bytes]:
    """Depth, numbers without end, broken text."""
    deep = [mark * 200_000 for mark in (b"[", b'{"a":')]
    return [
        *deep,
        b"9" * 5000,
        b"-" + b"1" * 100_000,
        b"1e999999",
        b'"\\ud800"',
        b"\xff",
        b"NaN",
        b"",
        b"\xef\xbb\xbf[]",
    ]


TARGETS = [
    Target("configuration", read_config, lambda _: [CONFIG], crafted=hostile_configs, tokens=TAGS, suffix=".yaml"),
    Target(
        "json",
        read_json,
        jsons,
        crafted=hostile_json,
        tokens=(b"[", b"{", b'"', b"\\u", b"9" * 20, b"e999"),
        suffix=".json",
    ),
]
