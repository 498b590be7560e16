"""Time and memory of pruning a network, here and by torch-pruning itself: python benchmarks/isomorphic_prune.py."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is used in place

import timm
import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common import save
from prunelib.measure.cost import macs, parameters
from prunelib.methods.isomorphic.prune import Choices, prune
from prunelib.methods.isomorphic.ranking import Rules
from prunelib.methods.isomorphic.statistics import gather
from prunelib.seeds import generator

EXAMPLES = """examples:
  python benchmarks/isomorphic_prune.py                      both networks, three times each, some minutes on two cores
  python benchmarks/isomorphic_prune.py --model resnet50 --rounds 1
  python benchmarks/isomorphic_prune.py --csv prune.csv

Every measurement is a process of its own, in turn: networks at random weights (norms drawn from 0.5 to 1.5), gradients
of two batches of four images of 224 pixels, isomorphic ranking, Taylor, widths even, the authors' ratios. CPU seconds,
summed over threads: gradients, and all that is not gradients (tracing, ranking, removal, checks of the result). Peak is
the resident memory of the whole process, libraries and network included."""
# The authors' ratios for channels, heads and dimensions per head.
RATIOS = {
    "resnet50": (0.26, 0.0, 0.0),
    "deit_small_distilled_patch16_224": (0.5, 0.5, 0.1),
    "deit_tiny_distilled_patch16_224": (0.25, 0.3, 0.3),
    "mobilenetv2_100": (0.27, 0.0, 0.0),
}
PRUNERS = ("prunelib", "torch-pruning")
COLUMNS = ("model", "pruner", "gradients_s", "pruning_s", "peak_mb", "gmacs_before", "gmacs", "mparameters")
BATCHES, BATCH, ROUND_TO = 2, 4, 2


def main() -> None:
    """Measure every network by both pruners in turn; print medians and write them."""
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(_measure(arguments.model[0], arguments.child, arguments.threads)))
        return
    print("{:34s} {:14s} {:>11s} {:>11s} {:>9s} {:>9s} {:>9s} {:>9s}".format(*COLUMNS))
    rows = []
    for model in arguments.model:
        found: dict[str, list[dict[str, float]]] = {pruner: [] for pruner in PRUNERS}
        for turn in range(arguments.rounds):
            for pruner in PRUNERS if turn % 2 else reversed(PRUNERS):
                found[pruner].append(_in_a_process(model, pruner, arguments.threads))
        for pruner, measured in found.items():
            medians = (statistics.median(each[name] for each in measured) for name in COLUMNS[2:])
            rows.append((model, pruner, *(round(value, 3) for value in medians)))
            print("{:34s} {:14s} {:11.2f} {:11.2f} {:9.0f} {:9.3f} {:9.3f} {:9.2f}".format(*rows[-1]), flush=True)
    if arguments.csv:
        save(arguments.csv, str(__doc__), COLUMNS, rows, threads_per_process=arguments.threads, rounds=arguments.rounds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known, usual = list(RATIOS), list(RATIOS)[:2]
    parser.add_argument("--model", nargs="+", choices=known, default=usual, help="ResNet-50 and DeiT-S where left out")
    parser.add_argument("--rounds", type=int, default=3, help="processes per network and pruner (default: 3)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each process (default: 1)")
    parser.add_argument("--csv", type=Path, help="write the table here too, and what it was measured with beside it")
    parser.add_argument("--child", choices=PRUNERS, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_a_process(model: str, pruner: str, threads: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--model", model, "--child", pruner, "--threads", str(threads)]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])


def _measure(name: str, pruner: str, threads: int) -> dict[str, float]:
    """Prune one network in this process; the MACs are counted after the memory is read."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    batches = [(torch.randn(BATCH, 3, 224, 224), torch.randint(1000, (BATCH,))) for _ in range(BATCHES)]
    by = _by_prunelib if pruner == "prunelib" else _by_torch_pruning
    start = time.process_time()
    small, gradients = by(model, batches, *RATIOS[name])
    spent = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    example = batches[0][0][:1]
    dense = timm.create_model(name).eval()
    sizes = {"gmacs_before": macs(dense, example) / 1e9, "gmacs": macs(small, example) / 1e9}
    sizes |= {"mparameters": parameters(small) / 1e6}
    return {"gradients_s": gradients, "pruning_s": spent - gradients, "peak_mb": peak, **sizes}


def _by_prunelib(
    model: nn.Module, batches: list[tuple[Tensor, Tensor]], ratio: float, heads: float, head_dims: float
) -> tuple[nn.Module, float]:
    """Return the pruned network and the CPU seconds of the gradients."""
    task = SimpleNamespace(
        example=batches[0][0][:1],
        batches=lambda purpose, count: iter(batches[:count]),
        loss=functional.cross_entropy,
        device=torch.device("cpu"),
    )
    start = time.process_time()
    found = gather(model, task, BATCHES, squares=False)
    gradients = time.process_time() - start
    rules = Rules("isomorphic", ROUND_TO, 1, 1.0, heads / ratio, head_dims / ratio)
    choices = Choices(rules, "taylor", "mean", "upstream", BATCHES, rounds=1, latency_batch=1)
    small, _ = prune(model, task, {"kind": "ratio", "value": ratio}, choices, generator(0, "ties"), found)
    return small, gradients


def _by_torch_pruning(
    model: nn.Module, batches: list[tuple[Tensor, Tensor]], ratio: float, heads: float, head_dims: float
) -> tuple[nn.Module, float]:
    """The same by torch-pruning's BasePruner, as its own examples use it; attention's numbers are put right after."""
    attention = [module for module in model.modules() if hasattr(module, "qkv")]
    pruner = torch_pruning.pruner.BasePruner(
        model,
        batches[0][0][:1],
        torch_pruning.importance.GroupTaylorImportance(),
        global_pruning=True,
        isomorphic=True,
        pruning_ratio=ratio,
        pruning_ratio_dict={tuple(module.qkv for module in attention): head_dims} if attention else {},
        head_pruning_ratio=heads,
        num_heads={module.qkv: module.num_heads for module in attention},
        prune_num_heads=True,
        prune_head_dims=True,
        ignored_layers=list(_classifiers(model)),
        round_to=ROUND_TO,
        customized_pruners={},
        in_channel_groups={},
        out_channel_groups={},
    )
    start = time.process_time()
    for images, labels in batches:
        functional.cross_entropy(model(images), labels).backward()
    gradients = time.process_time() - start
    for group in pruner.step(interactive=True):
        group.prune()
    for module in attention:
        module.num_heads = pruner.num_heads[module.qkv]
        module.head_dim = module.qkv.out_features // (3 * module.num_heads)
        module.attn_dim, module.scale = module.num_heads * module.head_dim, module.head_dim**-0.5
    with torch.no_grad():
        model(batches[0][0][:1])  # it still runs
    return model, gradients


def _classifiers(model: Any) -> Iterator[nn.Module]:
    found = model.get_classifier()
    yield from found if isinstance(found, tuple | list) else [found]


if __name__ == "__main__":
    main()
