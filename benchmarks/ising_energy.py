"""Tabulate energies of random states against the share of units they keep: the published minimum lies at one half."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is used in place

import torch
from torch import Tensor

from benchmarks.common import save
from prunelib.config import checked_options
from prunelib.methods.ising.counts import Kept
from prunelib.methods.ising.energy import Scene, ising, pair_term
from prunelib.methods.ising.gates import discover
from prunelib.models.build import build
from prunelib.seeds import generator

EXAMPLES = """examples:
  python benchmarks/ising_energy.py                            ResNet-18, a minute on one core
  python benchmarks/ising_energy.py --model resnet34 --states 4

share: of units kept; kept: of weights; energy: mean and standard deviation over random states, divided by C, the energy
of all pairs; expected: p² - p for unrelated units; asked: the same when the minimum is asked to lie at --balance."""
SHARES = [round(0.05 * step, 2) for step in range(1, 20)]
COLUMNS = ("share", "kept", "energy", "sd", "expected", "asked")


def main() -> None:
    """Cost random states of every share on one batch of noise, at initial weights."""
    arguments = _arguments()
    torch.set_num_threads(1)
    options = checked_options("model", arguments.model, {}, "--model")
    model = build({"builder": arguments.model, "options": options}, 0, classes=10, in_channels=3)
    random = generator(0, "energy", "batch")
    batch = (torch.randn(8, 3, 32, 32, generator=random), torch.randint(0, 10, (8,), generator=random))
    units = discover(model, batch[0])
    scene = Scene(units, Kept(model, units, batch[0]), "paper", floor=0.0)
    draw, size = generator(0, "energy", "states"), (len(SHARES), arguments.states, units.size)
    states = (torch.rand(size, generator=draw) < torch.tensor(SHARES)[:, None, None]).flatten(0, 1)
    scale = float(pair_term(units, torch.ones(1, units.size, dtype=torch.float64), {}, {}))
    found = ising(model, batch, states, scene).reshape(size[:2]) / scale
    asked = ising(model, batch, states, replace(scene, balance=arguments.balance)).reshape(size[:2]) / scale
    rows = _rows(found, asked, scene.kept.fraction(states).reshape(size[:2]))
    for row in (COLUMNS, *rows):
        print("".join(f"{cell:>10}" for cell in row))
    if arguments.csv:
        save(arguments.csv, str(__doc__), COLUMNS, rows, model=arguments.model, balance=arguments.balance)


def _rows(found: Tensor, asked: Tensor, kept: Tensor) -> list[tuple[str, ...]]:
    columns = [kept.mean(1), found.mean(1), found.std(1), None, asked.mean(1)]
    rows = []
    for index, share in enumerate(SHARES):
        values = [share * share - share if column is None else float(column[index]) for column in columns]
        rows.append((str(share), *(f"{value:.4f}" for value in values)))
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet18", help="registered model (default: resnet18)")
    parser.add_argument("--states", type=int, default=8, help="random states per share (default: 8)")
    parser.add_argument("--balance", type=float, default=0.7, help="share that is asked for (default: 0.7)")
    parser.add_argument("--csv", type=Path, help="also write the rows, and beside them what they were measured with")
    return parser.parse_args()


if __name__ == "__main__":
    main()
