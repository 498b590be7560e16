"""Time training steps that search gates by an energy, S = 8, and steps after convergence, against plain steps."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is used in place

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import save
from prunelib.config import checked_options
from prunelib.measure.steps import Step, Times, in_turn
from prunelib.methods.ising.gates import discover
from prunelib.methods.ising.narrow import Narrower
from prunelib.methods.ising.search import Search, ising
from prunelib.models.build import build
from prunelib.seeds import generator

EXAMPLES = """examples:
  python benchmarks/ising_step.py                                     every network, ten minutes on one quiet core
  python benchmarks/ising_step.py --model resnet18 --batch 128
  python benchmarks/ising_step.py --model resnet50 --device cuda --clock wall --more

Rows: plain, the published step; plain, channels last, the same in the layout that is faster on most CPUs; margin and
ising, a step that searches with that energy; converged, a step of the frozen sub-network. --more adds steps that cost
the parents too, that search at full width, and the approximations. Each ratio is the median over rounds of two steps'
times in the same round, against the faster plain step. authors: what their code took, by its README (GPU, Flowers,
S = 8). Bounds take a forward pass for a third of a step: 1 + S / 3 (margin) and 4 / 3 (ising) at full width; narrow,
the same when all passes of a state (ising's one pass not) have the share of operations that half of the units leave."""
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CLASSES = 102  # Flowers, as in the authors' README
COLUMNS = ("network", "batch", "step", "ms", "ratio", "authors", "bound", "bound_narrow")
LINE = "{:12s}{:>6}  {:36s}{:>10s}{:>8s}{:>9s}{:>8s}{:>14s}"
PLAIN = ("plain", "plain, channels last")
EXACT = {
    "margin": {"energy": "margin"},
    "ising": {"energy": "ising"},
    "converged": {"energy": "random", "search_epochs": 1},
}
MORE = {
    "margin, parents too": {"energy": "margin", "reevaluate": True},
    "margin, full width": {"energy": "margin"},
    "margin, every 4th step": {"energy": "margin", "search_every": 4},
    "margin, on a quarter of the batch": {"energy": "margin", "search_share": 0.25},
    "margin, bf16": {"energy": "margin", "search_precision": "bf16"},
}


@dataclass(frozen=True)
class Published:
    """A network of the README: its ratio there, the side of its images, and a batch that fits a small machine."""

    ratio: float
    side: int
    batch: int


NETWORKS = {
    "resnet18": Published(17.21, 32, 32),
    "resnet34": Published(25.12, 32, 32),
    "resnet50": Published(19.63, 32, 16),
    "alexnet": Published(28.97, 224, 32),
    "squeezenet": Published(1.33, 224, 8),
}


def main() -> None:
    """Measure network after network and print a table."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    facts = f"{platform.machine()}, {os.cpu_count()} CPUs, {arguments.threads} threads, torch {torch.__version__}"
    print(f"{facts}, {arguments.device}, {arguments.clock} time, {arguments.candidates} candidates")
    print(LINE.format(*COLUMNS))
    rows: list[tuple[Any, ...]] = []
    for name in arguments.model:
        steps = _steps(name, arguments)
        device, clock = torch.device(arguments.device), CLOCKS[arguments.clock]
        times = in_turn(steps, arguments.rounds, warm_up=arguments.warm_up, device=device, clock=clock)
        bounds = _bounds(name, arguments.candidates)
        for kind in steps:
            rows.append(_row(name, kind, times, bounds.get(kind, ("", "")), arguments))
            print(LINE.format(*rows[-1]), flush=True)
    if arguments.csv:
        facts = {name: getattr(arguments, name) for name in ("candidates", "device", "clock")}
        save(arguments.csv, str(__doc__), COLUMNS, rows, **facts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), help="default: all")
    parser.add_argument("--batch", type=int, help="images per batch (default: 8 to 32, by network; published: 128)")
    parser.add_argument("--candidates", type=int, default=8, help="states S in the population (default: 8)")
    parser.add_argument("--density", type=float, help="kept fraction of weights (default: half of the units, 0.5)")
    parser.add_argument("--more", action="store_true", help="also time the variants and approximations")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each kind that count (default: 5)")
    parser.add_argument("--warm-up", type=int, default=1, help="uncounted ones before (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--clock", choices=list(CLOCKS), default="cpu", help="wall or CPU time (default: cpu)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--csv", type=Path, help="also write the rows, and beside them what they were measured with")
    return parser.parse_args()


def _steps(name: str, arguments: argparse.Namespace) -> dict[str, Step]:
    """Return every kind of step of one network, a step of the search standing for four where it rests on three."""
    device, side = torch.device(arguments.device), NETWORKS[name].side
    random, size = generator(0, "benchmark"), arguments.batch or NETWORKS[name].batch
    x = torch.randn(size, 3, side, side, generator=random).to(device)
    batch = (x, torch.randint(0, CLASSES, (size,), generator=random).to(device))
    steps = {PLAIN[0]: _plain(name, batch, torch.contiguous_format), PLAIN[1]: _plain(name, batch, torch.channels_last)}
    kinds = EXACT | (MORE if arguments.more else {})
    return steps | {kind: _step(name, kind, options, batch, arguments) for kind, options in kinds.items()}


def _plain(name: str, batch: tuple[Tensor, Tensor], layout: torch.memory_format) -> Step:
    model = _model(name).to(batch[0].device, memory_format=layout).train()
    optimizer, x = _optimizer(model), batch[0].contiguous(memory_format=layout)
    return lambda: _update(optimizer, model(x), batch[1])


def _step(
    name: str, kind: str, options: dict[str, Any], batch: tuple[Tensor, Tensor], arguments: argparse.Namespace
) -> Step:
    """Return a function that takes training steps as the classification loop does, with its own network."""
    model = _model(name).to(batch[0].device, memory_format=torch.channels_last).train()
    optimizer, search = _optimizer(model), _search(name, options, batch, arguments)
    search.begin(model, optimizer)
    if kind == "converged":
        search.before_step(model, batch)
        search.after_epoch(model, 0)
    if kind == "margin, full width":
        search.scene = replace(search.scene, narrower=None)

    def step() -> None:
        search.before_step(model, batch)
        _update(optimizer, search.forward(model, batch[0]), batch[1])
        search.after_step(model)

    every = options.get("search_every", 1)
    return step if every == 1 else lambda: [step() for _ in range(every)]


def _search(name: str, options: dict[str, Any], batch: tuple[Tensor, Tensor], arguments: argparse.Namespace) -> Search:
    device = batch[0].device
    task = SimpleNamespace(build=lambda: _model(name).to(device), example=batch[0][:2], device=device, seed=0)
    given = checked_options("method", "ising", {"candidates": arguments.candidates, **options}, "options")
    kind = "full" if arguments.density is None else "density"
    return ising(task, {"kind": kind, "value": arguments.density}, generator(0, "search"), **given)


def _model(name: str) -> nn.Module:
    options = checked_options("model", name, {}, "--model")
    return build({"builder": name, "options": options}, 0, classes=CLASSES, in_channels=3)


def _optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adadelta(model.parameters(), lr=1.0, rho=0.9, eps=1e-6, weight_decay=1e-5)


def _update(optimizer: torch.optim.Optimizer, logits: Tensor, target: Tensor) -> None:
    loss = functional.cross_entropy(logits, target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _bounds(name: str, candidates: int) -> dict[str, tuple[str, str]]:
    """Return the least ratio by operations of each kind of step: at full width, and with half of the units narrow."""
    model, x = _model(name).eval(), torch.zeros(1, 3, NETWORKS[name].side, NETWORKS[name].side)
    units = discover(model, x)
    narrowing = Narrower(model, units, x)
    states = [torch.rand(units.size, generator=generator(0, "half")) < 0.5, torch.ones(units.size, dtype=torch.bool)]
    work = []
    for state in states:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            narrowing.forward(model, narrowing.narrow(state, x.device), x)
        work.append(counter.get_total_flops())
    share, search = work[0] / work[1], 1 + candidates / 3
    found = {"margin": (search, share * search), "ising": (4 / 3, share + 1 / 3), "converged": (1.0, share)}
    return {kind: (f"{full:.2f}", f"{narrow:.2f}") for kind, (full, narrow) in found.items()}


def _row(
    name: str, kind: str, times: dict[str, Times], bounds: tuple[str, str], arguments: argparse.Namespace
) -> tuple[Any, ...]:
    base = min((times[plain] for plain in PLAIN), key=lambda found: found.median)
    count, published = MORE.get(kind, {}).get("search_every", 1), NETWORKS[name]
    ratio = times[kind].ratio(base) / count
    authors = str(published.ratio) if kind == "margin" else ""
    batch = arguments.batch or published.batch
    return (name, batch, kind, f"{times[kind].median / count:.1f}", f"{ratio:.2f}", authors, *bounds)


if __name__ == "__main__":
    main()
