"""``python -m prunelib shrink``: make a trained network smaller for pictures of your own, by isomorphic pruning.

MODEL is an architecture of timm or torchvision, by name, with its published weights; or a saved network: a run's
directory or a .safetensors file with its record. DIR holds class folders of pictures, or train/ and val/ (or test/)
with class folders. Channels, heads and head dimensions are ranked by importance within isomorphic groups (Fang et al.,
ECCV 2024) and removed until the network meets the budget; then it is fine-tuned for --epochs.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from dataclasses import fields
from pathlib import Path

from prunelib.commands.shrinking import FILES, Shrink, shrink
from prunelib.errors import ConfigError
from prunelib.runs import Budget

INTERRUPTED = 130  # what a shell expects of a program stopped by ctrl-C
UNITS = {"k": 1e-6, "M": 1e-3, "G": 1.0}
EXAMPLES = """examples:
  python -m prunelib shrink resnet50 --macs 2.0G --data imagenet --epochs 5
  python -m prunelib shrink deit_tiny_patch16_224 --macs 50% --data flowers --dense-epochs 5 --epochs 10
  python -m prunelib shrink my-net/model.safetensors --latency 60% --data photos --side 96
  python -m prunelib shrink mobilenetv2_100 --parameters 50% --data photos --weights mine.safetensors

what it writes: model.safetensors and its record model.json (prunelib.load reads them; python -m prunelib export turns
  them into ONNX), report.txt and report.json: sizes, times and accuracy before and after, every width.
stopped by ctrl-C or killed: give the same command again and it goes on where it was.
weights in a pickle (.pth) of another program: python -m prunelib convert-pickle first.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``python -m prunelib``."""
    command = commands.add_parser(
        "shrink",
        help="make a trained network smaller for pictures of your own",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option, default = command.add_argument, Shrink("", "", "")
    option("model", metavar="MODEL", help="architecture of timm or torchvision, run directory or .safetensors file")
    option("--data", required=True, metavar="DIR", help="directory of class folders of pictures")
    budget = command.add_argument_group("budget, one of").add_mutually_exclusive_group(required=True)
    budget.add_argument("--macs", help="multiply-accumulates of one picture: 2.0G, 300M, or 50%% of the dense ones")
    budget.add_argument("--parameters", metavar="SHARE", help="50%% or 0.5 of the dense network's parameters")
    budget.add_argument("--latency", metavar="SHARE", help="50%% or 0.5 of the dense time, measured on this machine")
    option("--weights", help="a .safetensors file, 'published' (default) or 'none' (random; use --dense-epochs)")
    option("--mode", choices=["isomorphic", "global", "local", "uniform"], default=default.mode)
    criteria = ["taylor", "taylor_abs_of_sum", "fisher", "l1", "l2", "random"]
    option("--criterion", choices=criteria, default=default.criterion, help="of importance (default %(default)s)")
    option("--batches", type=int, default=default.batches, help="of training data for it (default %(default)s)")
    option("--rounds", type=int, default=default.rounds, help="prune in so many steps (default %(default)s)")
    option("--round-to", type=int, default=default.round_to, help="multiple of kept widths (default %(default)s)")
    blocks = "whole blocks of the last stage but one that go first (default %(default)s)"
    option("--remove-blocks", type=int, default=default.remove_blocks, help=blocks)
    option("--epochs", type=int, default=default.epochs, help="of fine-tuning afterwards (default %(default)s)")
    option(
        "--dense-epochs",
        type=int,
        default=default.dense_epochs,
        help="of training before pruning, for a network that does not know these classes (default %(default)s)",
    )
    option("--lr", type=float, default=default.lr, help="learning rate of AdamW, falling to 0 (default %(default)s)")
    option("--batch-size", type=int, default=default.batch_size, help="pictures per step (default %(default)s)")
    option("--side", type=int, help="pixels of the pictures' side (default: what the weights want)")
    option("--seed", type=int, default=default.seed, help="of splits, order and augmentation")
    option("--out", type=Path, metavar="DIR", help="folder for the results (default: <model>-<budget>)")
    option("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto takes a GPU where there is one")
    option("--threads", type=int, help="CPU threads (default: all cores)")
    option("--force", action="store_true", help="replace what other settings have left in the folder")
    command.set_defaults(call=run)


def run(given: argparse.Namespace) -> int:
    """Shrink one network and print the report; return the exit code."""
    names = {field.name for field in fields(Shrink)} - {"budget"}
    asked = Shrink(budget=budget_of(given), **{name: getattr(given, name) for name in names})
    _check(asked, given.threads)
    name = Path(given.model).resolve().stem if Path(given.model).exists() else given.model
    folder = given.out or Path(f"{name}-{asked.budget}")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        shrink(asked, folder, given.device, force=given.force, say=lambda line: print(f"{line} ...", flush=True))
    except KeyboardInterrupt:
        print("\nstopped; give the same command again and it goes on where it was.", file=sys.stderr)
        return INTERRUPTED
    print((folder / FILES[2]).read_text(), end="")
    print(f"written to {folder}: {', '.join(FILES)}")
    return 0


def budget_of(given: argparse.Namespace) -> str:
    """Return the label of the budget that was asked for; raises ConfigError for one that can't be."""
    kind = next(name for name in ("macs", "parameters", "latency") if getattr(given, name) is not None)
    text = getattr(given, kind)
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)([%kMG]?)", text)
    if match and match[2] in UNITS and kind == "macs":
        kind, value = "gmacs", float(match[1]) * UNITS[match[2]]
    elif match and match[2] not in UNITS:
        value = float(match[1]) / (100 if match[2] == "%" else 1)
    else:
        value = 0.0
    if value <= 0 or (kind != "gmacs" and value >= 1):
        also = "MACs such as 2.0G or 300M, or " if kind in ("macs", "gmacs") else ""
        raise ConfigError(
            f"--{kind.removeprefix('g')}: got {text}. Allowed: {also}a share below 1, such as 50% or 0.5."
        )
    return Budget(kind, value).label


def _check(asked: Shrink, threads: int | None) -> None:
    """Refuse numbers that mean nothing; the rest is checked with the configuration made of them."""
    least = {
        "batches": 1,
        "rounds": 1,
        "round_to": 1,
        "remove_blocks": 0,
        "epochs": 0,
        "dense_epochs": 0,
        "batch_size": 1,
        "seed": 0,
    }
    given = {name: getattr(asked, name) for name in least} | {"side": asked.side or 1, "threads": threads or 1}
    for name, value in given.items():
        if value < least.get(name, 1):
            raise ConfigError(f"--{name.replace('_', '-')}: got {value}; it must be at least {least.get(name, 1)}.")
    if asked.lr <= 0:
        raise ConfigError(f"--lr: got {asked.lr:g}; it must be more than 0.")
