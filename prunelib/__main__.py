"""``python -m prunelib``: look at what exists and what a configuration would run; clean a picture of your own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from prunelib import __version__, registry
from prunelib.commands import compare, convert, crate, denoise, export, shrink, status, verify
from prunelib.config import load, read
from prunelib.errors import PrunelibError
from prunelib.runs import Grid

KINDS = ("data", "model", "task", "method", "energy", "family")
EXAMPLES = """examples:
  python -m prunelib list method              every pruning method, its options and their defaults
  python -m prunelib check config.yaml        is this configuration possible? how many runs?
  python -m prunelib runs config.yaml --paper oes   the runs of one paper; each line is a path below results/runs/
  python -m prunelib record config.yaml mine  results/reference/mine: every number of its finished runs, as text
  python -m prunelib status                   how far the grid is, also while it runs
  python -m prunelib compare results other    what differs between two result trees
  python -m prunelib verify results           is every file still the one that was made?
  python -m prunelib crate results mine.zip   the tree as an RO-Crate, to archive or send
  python -m prunelib denoise photo.jpg        clean a noisy picture: photo-denoised/denoised.png
  python -m prunelib shrink resnet50 --macs 2.0G --data DIR   a smaller network: resnet50-gmacs2/model.safetensors
  python -m prunelib export DIR --to onnx     a trained network for other programs: DIR/model.onnx
  python -m prunelib convert-pickle model.pth  its tensors as model.safetensors; nothing in it is run
"""


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, do one thing, return the exit code (2 for a user's error)."""
    parser = argparse.ArgumentParser(
        prog="python -m prunelib", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("list", help="what is registered, with options and defaults")
    command.add_argument("kind", nargs="?", choices=KINDS, help="only this kind")
    command.set_defaults(call=lambda given: show_registry([given.kind] if given.kind else list(KINDS)))
    command = commands.add_parser("check", help="check a configuration and count its runs")
    command.add_argument("file", type=Path, nargs="?", default=Path("config.yaml"))
    command.set_defaults(call=lambda given: check(given.file))
    command = commands.add_parser("runs", help="list the runs of a configuration")
    command.add_argument("file", type=Path, nargs="?", default=Path("config.yaml"))
    command.add_argument("--paper", help="only this part of the grid")
    command.set_defaults(call=lambda given: show_runs(given.file, given.paper))
    command = commands.add_parser("record", help="write finished runs as small text files to results/reference/NAME")
    command.add_argument("file", type=Path, help="configuration of the runs")
    command.add_argument("name", help="name of the folder")
    command.set_defaults(call=lambda given: record_runs(given.file, given.name))
    status.add(commands)
    compare.add(commands)
    verify.add(commands)
    crate.add(commands)
    denoise.add(commands)
    shrink.add(commands)
    export.add(commands)
    convert.add(commands)
    given = parser.parse_args(arguments)
    try:
        return given.call(given) or 0
    except PrunelibError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0


def read_grid(file: Path) -> Grid:
    """Read and check a configuration file; raises ConfigError for a missing file or broken YAML too."""
    return Grid(load(read(file)))


def check(file: Path) -> None:
    """Print how many runs each part of a configuration's grid has."""
    grid = read_grid(file)
    for part in grid.settings.grid:
        print(f"{part:12} {len(grid.of(part)):5} runs")
    print(f"{'all':12} {len(grid.runs):5} runs, scale {grid.settings.scale}")


def show_runs(file: Path, paper: str | None) -> None:
    """Print the paths of a configuration's runs."""
    grid = read_grid(file)
    for run in grid.of(paper) if paper else grid.runs:
        print(run.path)


def record_runs(file: Path, name: str) -> None:
    """Record a configuration's finished runs under results/reference."""
    from prunelib.report.record import record  # imports torch, which the other commands do without

    print(record(file, name))


def show_registry(kinds: list[str]) -> None:
    """Print the registered things of some kinds: name, summary, options with defaults."""
    for kind in kinds:
        for entry in registry.entries(kind).values():
            options = ", ".join(
                f"{name}: {option.annotation}" + ("" if option.required else f" = {option.default}")
                for name, option in entry.options.items()
            )
            print(f"{kind} {entry.name}\n    {entry.summary}" + (f"\n    options: {options}" if options else ""))


if __name__ == "__main__":
    sys.exit(main())
