"""Time the steps of OES on its full-size generator: mask search, dense training, sparse training compacted or not."""

from __future__ import annotations

import argparse
import copy
import os
import platform
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is used in place

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common import save
from benchmarks.published_masks import NORMS, published_like
from prunelib.compact.shrink import shrunk
from prunelib.measure.cost import macs
from prunelib.measure.steps import Step, Times, in_turn, training_step
from prunelib.methods.gumbel import LogitSearch
from prunelib.models.hourglass import Encoder, hourglass
from prunelib.seeds import generator

EXAMPLES = """examples:
  python benchmarks/oes_step.py                             the sides 64 192 256, about two minutes on two cores
  python benchmarks/oes_step.py --side 192 512 --rounds 10
  python benchmarks/oes_step.py --mask lena --threads 4 --csv steps.csv
  python benchmarks/oes_step.py --threads 1 --clock cpu     on a machine that others use too

Rows: plain, the published network (convolution, then pool) trained by torch's default Adam in torch's default layout;
fit, a dense step of this project; search, a step of the mask search; sparse, a step under a mask with the layer counts
of a published one, at full size and compacted. Each ratio is the median over rounds of two steps' times in the same
round, which a busy machine slows alike."""
BASES = {"search": ("plain", "fit"), "sparse": ("fit",), "sparse, compacted": ("plain", "fit")}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
LEVELS = [16, 32, 64, 128, 128, 128]


def main() -> None:
    """Measure side after side and print a table."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    facts = f"{platform.machine()}, {os.cpu_count()} CPUs, {arguments.threads} threads, torch {torch.__version__}"
    print(f"{facts}, {_device_name(arguments.device)}, {arguments.clock} time; mask like {arguments.mask}'s")
    print(f"{'side':>5s}  {'step':20s}{'GMAC':>8s}{'ms':>10s}{'/ plain':>9s}{'/ fit':>9s}")
    rows = []
    for side in arguments.side:
        steps, costs = _steps(side, arguments)
        device, clock = torch.device(arguments.device), CLOCKS[arguments.clock]
        times = in_turn(steps, arguments.rounds, warm_up=arguments.warm_up, device=device, clock=clock)
        for name in steps:
            rows.append(_row(side, name, costs[name], times))
            print(_line(rows[-1]), flush=True)
    if arguments.csv:
        cells = [list(row.values()) for row in rows]
        save(arguments.csv, str(__doc__), list(rows[0]), cells, clock=arguments.clock, mask=arguments.mask)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, nargs="+", default=[64, 192, 256], help="pixels (default: 64 192 256)")
    parser.add_argument("--mask", choices=list(NORMS), default="pepper", help="whose counts (default: pepper)")
    parser.add_argument("--rounds", type=int, default=7, help="steps of each kind that count (default: 7)")
    parser.add_argument("--warm-up", type=int, default=2, help="uncounted ones before (default: 2)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="time or CPU time (default: wall)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--csv", type=Path, help="also write the rows, and beside them what they were measured with")
    return parser.parse_args()


def _steps(side: int, arguments: argparse.Namespace) -> tuple[dict[str, Step], dict[str, int]]:
    """Return every kind of step at one side, and the MACs of its network's forward pass in published form."""
    build, batch = _network(side, arguments.device)
    steps = {
        "plain": training_step(_published(build()), functional.mse_loss, tuple(map(_default, batch)), fused=False),
        "fit": training_step(build(), functional.mse_loss, batch),
        "search": _search(build, batch),
    }
    costs = dict.fromkeys(steps, macs(build(), batch[0]))
    if side >= 3 * 2 ** len(LEVELS):  # the mask has all six levels, which smaller pictures have not
        mask, model = published_like(arguments.mask), build()
        small = shrunk(model, mask, batch[0])
        assert small is not None
        costs |= {"sparse": costs["fit"], "sparse, compacted": macs(small.network, batch[0])}
        mask.apply_(model)
        steps["sparse"] = training_step(model, functional.mse_loss, batch, mask)
        steps["sparse, compacted"] = training_step(small.network, functional.mse_loss, batch, small.mask)
    return steps, costs


def _network(side: int, device: str) -> tuple[Callable[[], nn.Module], tuple[Tensor, Tensor]]:
    """Return a builder of the deepest generator that draws this side, and its input and a picture."""
    levels = max(n for n in range(1, len(LEVELS) + 1) if side % 2**n == 0 and side >= 3 * 2**n)
    layout = torch.channels_last if device == "cpu" else torch.contiguous_format
    torch.manual_seed(0)
    model, random = hourglass(channels=LEVELS[:levels]), generator(0, "benchmark")
    z = 0.1 * torch.rand(model.input_shape(side, side), generator=random)
    y = torch.rand(1, 3, side, side, generator=random)
    model, z = model.to(device, memory_format=layout), z.to(device).contiguous(memory_format=layout)
    return lambda: copy.deepcopy(model), (z, y.to(device))


def _published(model: nn.Module) -> nn.Module:
    """Return the network with every convolution and pool by itself, in torch's default layout."""
    for name, level in list(model.named_modules()):
        if isinstance(level, Encoder):
            model.set_submodule(name, nn.Sequential(OrderedDict(level.named_children())))
    return model.to(memory_format=torch.contiguous_format)


def _default(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.contiguous_format)


def _search(build: Callable[[], nn.Module], batch: tuple[Tensor, Tensor]) -> Step:
    device = batch[0].device
    task = SimpleNamespace(build=build, example=batch[0], device=device, seed=0, loss=functional.mse_loss)
    search = LogitSearch(task, 0.05, "all", 1e-9, 0.2, 0.01, generator(0, "search"))
    return lambda: search.step(batch)


def _row(side: int, name: str, cost: int, times: dict[str, Times]) -> dict[str, object]:
    ratios = {base: times[name].ratio(times[base]) for base in BASES.get(name, ())}
    found = {f"ratio_{base}": f"{ratios[base]:.3f}" if base in ratios else "" for base in ("plain", "fit")}
    return {"side": side, "step": name, "gmac": f"{cost / 1e9:.3f}", "ms": f"{times[name].median:.1f}", **found}


def _line(row: dict[str, object]) -> str:
    return "{side:5d}  {step:20s}{gmac:>8s}{ms:>10s}{ratio_plain:>9s}{ratio_fit:>9s}".format(**row)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else "on the CPU"


if __name__ == "__main__":
    main()
