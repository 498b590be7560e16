"""Throughput of image fits and mask searches side by side, against one after the other."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is used in place

import numpy as np
import torch

from benchmarks.common import save
from prunelib.data.datasets import Photo, write
from prunelib.methods.gumbel import gumbel
from prunelib.methods.gumbel_many import gumbel_many
from prunelib.recipes import FitRecipe
from prunelib.seeds import generator, numpy_generator
from prunelib.tasks.base import use_device
from prunelib.tasks.denoise import Denoise
from prunelib.training.fit_image import fit_image
from prunelib.training.fit_many import fit_many

EXAMPLE = """examples:
  python benchmarks/batched_fit.py --side 64 --channels 8 16 --counts 1 2 4 --steps 20
  python benchmarks/batched_fit.py --device cuda --side 512 --steps 200 --csv batched.csv

prints, for K images, image steps per second (K times steps per second) side by side and one after the other, the median
of the rounds, and their ratio. The two take turns, so that a busy machine slows both alike."""
BUDGET = {"kind": "density", "value": 0.05}
COLUMNS = ("work", "device", "side", "images", "side_by_side_per_s", "one_by_one_per_s", "ratio")


def main() -> None:
    """Time every kind of work for every number of images."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    device = use_device(arguments.device)
    model = {"builder": "hourglass", "options": {"channels": arguments.channels}}
    rows = []
    print(f"{'work':8s}{'K':>4s}{'side by side':>16s}{'one by one':>14s}{'ratio':>8s}  ({device}, {arguments.side} px)")
    with tempfile.TemporaryDirectory() as folder:
        photo = _photo(Path(folder) / "photo.h5", arguments.side)
        tasks = [Denoise(photo, model, seed, device) for seed in range(max(arguments.counts))]
        for work in arguments.work:
            joint, single = {"fit": (_fit_many, _fit), "search": (_search_many, _search)}[work]
            for count in arguments.counts:
                chosen = tasks[:count]
                fast, slow = _rates(arguments, device, chosen, joint, single)
                rows.append((work, str(device), arguments.side, count, fast, slow, fast / slow))
                print(f"{work:8s}{count:4d}{fast:14.2f}/s{slow:12.2f}/s{fast / slow:8.2f}", flush=True)
    if arguments.csv:
        save(arguments.csv, str(__doc__), COLUMNS, rows, channels=" ".join(map(str, arguments.channels)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    published = [16, 32, 64, 128, 128, 128]
    works = ["fit", "search"]
    parser.add_argument("--work", nargs="+", choices=works, default=works, help="what to time (default: both)")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda (default: cpu)")
    parser.add_argument("--side", type=int, default=64, help="pixels per side (default: 64)")
    parser.add_argument(
        "--channels", type=int, nargs="+", default=[16, 32, 64], help=f"hourglass; published {published}"
    )
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="images K (default: 1 2 4 8 16)"
    )
    parser.add_argument("--steps", type=int, default=10, help="steps per measurement (default: 10)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="measurements of each (default: 3), after an uncounted one"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument(
        "--csv", type=Path, help="also write the table to this file, and what it was measured with beside it"
    )
    return parser.parse_args()


def _photo(path: Path, side: int) -> Path:
    image = numpy_generator(0, "benchmark").integers(0, 256, (side, side, 3), dtype=np.uint8)
    write(path, Photo("random", image, "made up"))
    return path


def _rates(
    arguments: argparse.Namespace,
    device: torch.device,
    tasks: Sequence[Denoise],
    joint: Callable[[Sequence[Denoise], int], None],
    single: Callable[[Denoise, int], None],
) -> tuple[float, float]:
    """Return image steps per second side by side and one by one; the latter is measured on one of the tasks.

    What a run costs besides its steps (building, its first row, its figures) is measured by runs of one step and left
    out: a published run has thousands of steps.
    """
    rates: tuple[list[float], list[float]] = [], []
    for turn in range(1 + arguments.rounds):
        pairs = (lambda steps: joint(tasks, steps), len(tasks)), (lambda steps: single(tasks[0], steps), 1)
        for found, (work, images) in zip(rates, pairs, strict=True):
            spent = _seconds(device, work, 1 + arguments.steps) - _seconds(device, work, 1)
            if turn:
                found.append(images * arguments.steps / spent)
    return statistics.median(rates[0]), statistics.median(rates[1])


def _seconds(device: torch.device, work: Callable[[int], None], steps: int) -> float:
    start = time.perf_counter()
    work(steps)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _recipe(steps: int) -> dict[str, object]:
    return FitRecipe(loop="fit_image", steps=steps, log_every=10**6).model_dump()


def _fit(task: Denoise, steps: int) -> None:
    fit_image(task, task.build(), _recipe(steps))


def _fit_many(tasks: Sequence[Denoise], steps: int) -> None:
    fit_many(tasks, [task.build() for task in tasks], _recipe(steps))


def _search(task: Denoise, steps: int) -> None:
    gumbel(task, BUDGET, generator(task.seed, "search"), steps=steps, log_every=10**6)


def _search_many(tasks: Sequence[Denoise], steps: int) -> None:
    streams = [generator(task.seed, "search") for task in tasks]
    gumbel_many(tasks, BUDGET, streams, steps=steps, log_every=10**6)


if __name__ == "__main__":
    main()
