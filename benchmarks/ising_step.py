"""Time a training step that searches gates against a plain step: python benchmarks/ising_step.py --model resnet18."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is used in place

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common import save
from prunelib.config import checked_options
from prunelib.methods.ising.search import ising
from prunelib.models.build import build
from prunelib.seeds import generator

EXAMPLE = """example:
  python benchmarks/ising_step.py --model resnet_small --options '{"width": 16, "blocks": 1}' --side 8 --channels 1

prints one line per kind of step: median milliseconds, interquartile range, ratio to the plain step. A forward pass is
about a third of a step, so costing S states each by a forward pass of its own is bound by a ratio of 1 + S / 3."""
KINDS = {
    "plain": None,
    "fixed gates": {"energy": "random", "search_epochs": 1},
    "ising energy": {"energy": "ising"},
    "margin energy": {"energy": "margin"},
    "margin energy, parents too": {"energy": "margin", "reevaluate": True},
    "margin energy, every 4th step": {"energy": "margin", "search_every": 4},
}
COLUMNS = ("step", "ms", "iqr_ms", "ratio")


def main() -> None:
    """Time every kind of step, interleaved so that a busy machine slows all alike."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    steps = {kind: _step(options, arguments) for kind, options in KINDS.items()}
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    for turn in range(arguments.warm_up + arguments.rounds):
        for kind, step in steps.items():
            elapsed = _timed(step, 4)  # a multiple of every search interval
            if turn >= arguments.warm_up:
                times[kind].append(elapsed)
    base = statistics.median(times["plain"])
    place = f"{arguments.device}, {os.cpu_count()} CPUs"
    print(f"{arguments.model} batch {arguments.batch} candidates {arguments.candidates} {place}")
    rows = []
    for kind, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        rows.append((kind, round(middle, 3), round(high - low, 3), round(middle / base, 4)))
        print("{:32s} {:9.2f} ms  (iqr {:6.2f})  x{:.2f}".format(*rows[-1]))
    if arguments.csv:
        facts = {name: getattr(arguments, name) for name in ("model", "batch", "side", "candidates", "device")}
        save(arguments.csv, str(__doc__), COLUMNS, rows, **facts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet_small", help="registered model (default: resnet_small)")
    parser.add_argument("--options", type=json.loads, default={}, help="its options as JSON (default: {})")
    parser.add_argument("--batch", type=int, default=128, help="images per batch (default: 128)")
    parser.add_argument("--side", type=int, default=32, help="pixels per side (default: 32)")
    parser.add_argument("--channels", type=int, default=3, help="image channels (default: 3)")
    parser.add_argument("--candidates", type=int, default=8, help="states S in the population (default: 8)")
    parser.add_argument("--density", type=float, default=0.5, help="kept fraction of weights (default: 0.5)")
    parser.add_argument("--rounds", type=int, default=10, help="measurements of four steps each (default: 10)")
    parser.add_argument("--warm-up", type=int, default=2, help="uncounted rounds before (default: 2)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--csv", type=Path, help="write the table here too, and what it was measured with beside it")
    return parser.parse_args()


def _step(options: dict[str, Any] | None, arguments: argparse.Namespace) -> Callable[[], None]:
    """Return a function that takes one training step as the classification loop does."""
    device = torch.device(arguments.device)
    random = generator(0, "benchmark")
    x = torch.randn(arguments.batch, arguments.channels, arguments.side, arguments.side, generator=random).to(device)
    y = torch.randint(0, 10, (arguments.batch,), generator=random).to(device)
    model = _model(arguments).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    if options is None:
        return lambda: _update(optimizer, model(x), y)
    task = SimpleNamespace(build=lambda: _model(arguments).to(device), example=x[:2], device=device, seed=0)
    given = checked_options("method", "ising", {"candidates": arguments.candidates, **options}, "options")
    budget = {"kind": "density", "value": arguments.density, "previous": None}
    search = ising(task, budget, generator(0, "search"), **given)
    search.begin(model, optimizer)

    def step() -> None:
        search.before_step(model, (x, y))
        _update(optimizer, search.forward(model, x), y)
        search.after_step(model)

    return step


def _model(arguments: argparse.Namespace) -> nn.Module:
    options = checked_options("model", arguments.model, arguments.options, "--options")
    return build({"builder": arguments.model, "options": options}, 0, classes=10, in_channels=arguments.channels)


def _update(optimizer: torch.optim.Optimizer, logits: Tensor, target: Tensor) -> None:
    loss = functional.cross_entropy(logits, target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _timed(step: Callable[[], None], count: int) -> float:
    """Return the milliseconds per step over ``count`` steps."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start) / count


if __name__ == "__main__":
    main()
