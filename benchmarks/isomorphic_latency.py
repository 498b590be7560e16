"""Time of dense, pruned and evenly narrowed networks by rounding of widths: python benchmarks/isomorphic_latency.py."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is used in place

import timm
import torch
from torch import Tensor, nn

from benchmarks.common import save
from prunelib.measure.cost import forward_memory_mb, macs, macs_torch_pruning, parameters
from prunelib.measure.steps import in_turn
from prunelib.methods.isomorphic.prune import Choices, prune
from prunelib.methods.isomorphic.ranking import Rules
from prunelib.seeds import generator

EXAMPLES = """examples:
  python benchmarks/isomorphic_latency.py                                       ResNet-50 and DeiT-S, some minutes
  python benchmarks/isomorphic_latency.py --model resnet18 --round-to 1 16 --batch 1
  python benchmarks/isomorphic_latency.py --threads 1 --clock cpu --csv latency.csv  # on a machine that others use too
  python benchmarks/isomorphic_latency.py --device cuda --batch 1 64

Networks at random weights, pruned by magnitude to one share of the MACs, ranked isomorphically or narrowed uniformly;
kept widths are multiples of round_to. All of one batch size take turns; speed-up is the median over rounds of the dense
network's time over this one's in the same round. gmacs_tp is torch-pruning's count; memory_mb: weights, input and
activations at their most."""
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
COLUMNS = (
    "model", "mode", "round_to", "batch", "gmacs", "gmacs_tp", "mparameters", "memory_mb", "ms", "iqr_ms", "speed_up",
)  # fmt: skip
MODES = ("isomorphic", "uniform")


def main() -> None:
    """Prune every network in every way, time all of them in turn, print a table and write it."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    print("{:34s} {:10s} {:>8s} {:>5s} {:>7s} {:>8s} {:>11s} {:>9s} {:>9s} {:>8s} {:>8s}".format(*COLUMNS))
    rows = []
    for model in arguments.model:
        networks = dict(_networks(model, arguments))
        for count in arguments.batch:
            for row in _rows(model, networks, count, arguments):
                rows.append(row)
                print(
                    "{:34s} {:10s} {!s:>8s} {:5d} {:7.3f} {:8.3f} {:11.3f} {:9.1f} {:9.2f} {:8.2f} {:8.2f}".format(*row)
                )
    if arguments.csv:
        facts = {name: getattr(arguments, name) for name in ("device", "clock", "rounds", "macs", "side")}
        save(arguments.csv, str(__doc__), COLUMNS, rows, **facts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = ["resnet50", "deit_small_distilled_patch16_224"]
    parser.add_argument("--model", nargs="+", default=usual, help="of timm (default: ResNet-50 and DeiT-S)")
    parser.add_argument("--macs", type=float, default=0.5, help="share of the MACs that stays (default: 0.5)")
    parser.add_argument("--round-to", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32], help="default: 1 2 4 8 16 32")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="images at once (default: 1 8)")
    parser.add_argument("--side", type=int, default=224, help="pixels (default: 224)")
    parser.add_argument("--rounds", type=int, default=9, help="passes of each network that count (default: 9)")
    parser.add_argument("--warm-up", type=int, default=2, help="uncounted ones before (default: 2)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="time or CPU time (default: wall)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--csv", type=Path, help="write the table here too, and what it was measured with beside it")
    return parser.parse_args()


def _networks(name: str, arguments: argparse.Namespace) -> Iterator[tuple[tuple[str, int | str], nn.Module]]:
    """Yield (mode, round_to) and the network on its device, the dense one first."""
    torch.manual_seed(0)
    dense = timm.create_model(name).eval()
    task = SimpleNamespace(example=torch.randn(1, 3, arguments.side, arguments.side), device=torch.device("cpu"))
    for mode in MODES:
        for step in arguments.round_to:
            rules = Rules(mode, step, max_ratio=0.95, heads=1.0, head_dims=0.5)
            choices = Choices(rules, "l2", "mean", "all", batches=1, rounds=1, latency_batch=1)
            small, _ = prune(dense, task, {"kind": "macs", "value": arguments.macs}, choices, generator(0, "ties"))
            yield (mode, step), small.eval().to(arguments.device)
    yield ("dense", ""), dense.to(arguments.device)


@torch.inference_mode()
def _rows(
    model: str, networks: dict[tuple[str, int | str], nn.Module], count: int, arguments: argparse.Namespace
) -> Iterator[tuple[Any, ...]]:
    device = torch.device(arguments.device)
    batch = torch.randn(count, 3, arguments.side, arguments.side, device=device)
    steps = {key: lambda network=network: network(batch) for key, network in networks.items()}
    times = in_turn(steps, arguments.rounds, warm_up=arguments.warm_up, device=device, clock=CLOCKS[arguments.clock])
    dense = times["dense", ""]
    for key in sorted(networks, key=lambda key: key[0] != "dense"):
        size = _size(networks[key], batch)
        spent = (times[key].median, times[key].iqr, dense.ratio(times[key]))
        yield (model, *key, count, *(round(value, 3) for value in (*size, *spent)))


def _size(network: nn.Module, batch: Tensor) -> tuple[float, ...]:
    counts = (macs(network, batch[:1]) / 1e9, macs_torch_pruning(network, batch[:1]) / 1e9, parameters(network) / 1e6)
    return (*counts, forward_memory_mb(network, batch))


if __name__ == "__main__":
    main()
