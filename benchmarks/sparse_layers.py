"""Time kernel-sparse layers and networks against dense and masked dense ones: python benchmarks/sparse_layers.py."""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is used in place

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common import save
from prunelib.compact.sparse.functions import kernels
from prunelib.compact.sparse.layers import SparseConv2d, SparseLinear
from prunelib.compact.sparse.network import sparsify
from prunelib.config import checked_options
from prunelib.masks.mask import Mask
from prunelib.methods.expander.graphs import sample
from prunelib.methods.expander.mask import expander
from prunelib.models.build import build
from prunelib.seeds import generator
from prunelib.storage.provenance import provenance

EXAMPLES = """examples:
  python benchmarks/sparse_layers.py --parts network --degrees 3 --batches 64
  python benchmarks/sparse_layers.py --threads 1 --clock cpu --csv sparse.csv       # on a machine that others use too

One line per case: median milliseconds of the dense form and, of each other form, the median of its ratios to the dense
pass beside it. Layers: "masked" is the dense layer and its gradient's mask, "kernel" and "gather" are forms of a sparse
layer, "network" rows are VGG-16 on 32 x 32 images: inference, and a step of SGD; "sparse" has each layer's faster form.
"""
LAYERS = [(3, 64, 32), (64, 64, 32), (64, 128, 16), (128, 128, 16), (128, 256, 8), (256, 256, 8)]
LAYERS += [(256, 512, 4), (512, 512, 4), (512, 512, 2), (512, 512, 0)]  # inputs, outputs, side; 0: linear
COLUMNS = ["case", "degree", "batch", "pass", "form", "dense_ms", "ratio"]
Pass = Callable[[], object]


def main() -> None:
    """Print the machine and a line per case; write all of it as CSV when asked to."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    machine = provenance({})
    facts = f"{machine['machine']}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}, clock {arguments.clock}"
    print(f"{facts}, compiled loops: {'yes' if kernels() else 'no'}", flush=True)
    rows = []
    for row in _rows(arguments):
        rows.append(row)
        print("{:14s} degree {:3d} batch {:3d} {:16s} {:7s} dense {:9.2f} ms  ratio {:6.3f}".format(*row), flush=True)
    if arguments.csv:
        compiled = "yes" if kernels() else "no"
        save(arguments.csv, str(__doc__), COLUMNS, rows, clock=arguments.clock, compiled=compiled)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=["layers", "network"], default=["layers", "network"])
    parser.add_argument("--degrees", nargs="+", type=int, default=[3, 15], help="default: 3 15")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64, 128], help="default: 1 64 128")
    parser.add_argument("--repeats", type=int, default=5, help="counted turns through all forms (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: time this process computes")
    parser.add_argument("--csv", type=Path, help="write the table here too, and what it was measured with beside it")
    return parser.parse_args()


def _rows(arguments: argparse.Namespace) -> Iterator[list[Any]]:
    """Yield the rows of COLUMNS."""
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    makers = {"layers": _layer_cases, "network": _network_cases}
    for part in arguments.parts:
        for degree in arguments.degrees:
            for batch in arguments.batches:
                for case, what, forms in makers[part](degree, batch):
                    times = _paired(forms, arguments.repeats, clock)
                    for form in list(times)[1:]:
                        ratios = [mine / dense for mine, dense in zip(times[form], times["dense"], strict=True)]
                        dense = 1000 * statistics.median(times["dense"])
                        yield [case, degree, batch, what, form, round(dense, 3), round(statistics.median(ratios), 4)]


def _paired(forms: dict[str, Pass], repeats: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Time the forms in turns, so that a busy machine slows all alike; the first turn compiles and is not counted."""
    times: dict[str, list[float]] = {form: [] for form in forms}
    for turn in range(repeats + 1):
        for form, work in forms.items():
            start = clock()
            work()
            if turn:
                times[form].append(clock() - start)
    return times


def _layer_cases(degree: int, batch: int) -> Iterator[tuple[str, str, dict[str, Pass]]]:
    """Yield name, pass and forms of every layer of VGG-16; each form gets its input as it wants it in memory."""
    for n_in, n_out, side in LAYERS:
        linear, random = side == 0, generator(0, "benchmark")
        dense = nn.Linear(n_in, n_out, bias=False) if linear else nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        graph = torch.from_numpy(np.ascontiguousarray(sample("rreg", n_in, n_out, degree, 0).toarray().T))
        mask = graph if linear else graph[:, :, None, None].expand(dense.weight.shape).clone()
        plain = torch.randn((batch, n_in) if linear else (batch, n_in, side, side), generator=random)
        axes = (1, 0) if linear else (1, 2, 3, 0)
        last = plain.permute(axes).contiguous().permute((1, 0) if linear else (3, 0, 1, 2))
        layers = {"dense": (dense, plain), "masked": (copy.deepcopy(dense), plain)}
        for form, x in (("kernel", last), ("gather", plain)):
            layers[form] = ((SparseLinear if linear else SparseConv2d)(dense, mask, form), x)
        enforcer = Mask({"weight": mask}).enforcer(layers["masked"][0])
        case = f"{n_in}-{n_out}@{side}" if side else f"{n_in}-{n_out} linear"
        yield case, "forward", {form: _forward(layer, x) for form, (layer, x) in layers.items()}
        after = {"masked": enforcer.gradients_}
        yield (
            case,
            "forward+backward",
            {form: _both(layer, x.detach().requires_grad_(), after.get(form)) for form, (layer, x) in layers.items()},
        )


def _forward(model: nn.Module, x: Tensor) -> Pass:
    def run() -> None:
        with torch.no_grad():
            model(x)

    return run


def _both(layer: nn.Module, x: Tensor, after: Pass | None) -> Pass:
    with torch.no_grad():
        y = layer(x)
    direction = torch.ones_like(y)  # of the output's layout

    def run() -> None:
        layer.zero_grad()
        layer(x).backward(direction)
        if after:
            after()

    return run


def _network_cases(degree: int, batch: int) -> Iterator[tuple[str, str, dict[str, Pass]]]:
    """Yield inference and training step of VGG-16: dense, masked dense, sparse."""
    options = checked_options("model", "vgg", {"conv_bias": False}, "vgg")
    task = SimpleNamespace(
        build=lambda: build({"builder": "vgg", "options": options}, 0, classes=10, in_channels=3),
        kind="classify",
        seed=0,
    )
    random = generator(0, "benchmark")
    x, y = torch.randn(batch, 3, 32, 32, generator=random), torch.randint(0, 10, (batch,), generator=random)
    mask = expander(task, {"kind": "degree", "value": degree}, random)
    for what, training in (("inference", False), ("step", True)):
        networks = {form: task.build().train(training) for form in ("dense", "masked", "sparse")}
        for form in ("masked", "sparse"):
            mask.apply_(networks[form])
        _, rest = sparsify(networks["sparse"], mask, x, training=training)
        if not training:
            yield "network", what, {form: _forward(model, x) for form, model in networks.items()}
        elif batch > 1:  # batch norm can't train on one image
            masks = {"masked": mask, "sparse": rest}
            yield "network", what, {form: _step(model, x, y, masks.get(form)) for form, model in networks.items()}


def _step(model: nn.Module, x: Tensor, y: Tensor, mask: Mask | None) -> Pass:
    """Return a training step as the classification loop takes it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    enforcer = mask.enforcer(model) if mask is not None else None

    def run() -> None:
        loss = functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        if enforcer:
            enforcer.gradients_()
        optimizer.step()

    return run


if __name__ == "__main__":
    main()
