"""``python -m prunelib compare A B``: which numbers of two result trees differ, and whether by more than allowed.

A tree is a result directory (finished runs in its runs/), a folder of recorded runs, or a table of runs (CSV). Runs are
matched by paper, task, model, method, budget and seed; times and machines are not compared. Exit code 0: the same runs
and no difference beyond the tolerance; 1: differences; 2: the trees can't be compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from prunelib.errors import ConfigError

EXAMPLES = """examples:
  python -m prunelib compare results ../other-checkout/results          bit for bit (to the digits of the tables)
  python -m prunelib compare results /mnt/gpu/results --relative 0.01 --tolerance psnr_final=0.3 --tolerance top1=0.01
  python -m prunelib compare results results --as snip-upstream=snip    the authors' code against the corrected method
  python -m prunelib compare before after --csv differences.csv --metric top1 psnr_final
"""
SHOWN = 20  # differences that are printed unasked


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``python -m prunelib``."""
    command = commands.add_parser(
        "compare",
        help="the differences of two result trees; exit code 1 if there are any",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("a", type=Path, metavar="A", help="a result tree")
    command.add_argument("b", type=Path, metavar="B", help="another one")
    command.add_argument("--metric", nargs="+", default=[], metavar="NAME", help="only these metrics (default: all)")
    command.add_argument("--absolute", type=float, default=0.0, metavar="X", help="allowed distance of any two values")
    command.add_argument("--relative", type=float, default=0.0, metavar="X", help="allowed share of the larger value")
    command.add_argument(
        "--tolerance", action="append", default=[], metavar="METRIC=X", help="allowed distance of one metric's values"
    )
    command.add_argument(
        "--as", dest="same", action="append", default=[], metavar="METHOD=METHOD",
        help="compare only A's runs of one method, with B's of another",
    )  # fmt: skip
    command.add_argument("--csv", type=Path, metavar="FILE", help="write every compared value as a table")
    command.add_argument("--all", action="store_true", help=f"print every difference, not the first {SHOWN}")
    command.set_defaults(call=run)


def run(given: argparse.Namespace) -> int:
    """Compare two trees, print what differs and return the exit code."""
    own = {name: _number(value, f"--tolerance {name}") for name, value in _pairs("--tolerance", given.tolerance)}
    for name, value in (("--absolute", given.absolute), ("--relative", given.relative), *own.items()):
        if not value >= 0:
            raise ConfigError(f"{name}: got {value}; a tolerance is 0 or more.")
    from prunelib.report import compare
    from prunelib.report.tables import write_table

    with TemporaryDirectory() as scratch:
        a, b = (compare.read_tree(path, Path(scratch)) for path in (given.a, given.b))
    if same := dict(_pairs("--as", given.same)):
        a, b = compare.relabel(a, same), b[b.method.isin(same.values())]
    found = compare.compare(a, b, compare.Tolerance(given.absolute, given.relative, own), given.metric)
    if given.csv:
        write_table(given.csv, compare.COLUMNS, found.to_dict("records"))
    broken = found[found.verdict.isin(compare.BROKEN)]
    shown = broken if given.all else broken[:SHOWN]
    for row in shown.itertuples(index=False):
        print(_line(row))
    if len(broken) > len(shown):
        print(f"... {len(broken) - len(shown)} more: --all, or --csv FILE")
    print(compare.summary(found).to_string(index=False))
    runs = len(found[compare.KEY].drop_duplicates())
    print(f"{runs} runs, {len(found)} values, {len(broken)} differences beyond the tolerance")
    return int(len(broken) > 0)


def _line(row: object) -> str:
    run = "/".join(str(getattr(row, name)) for name in ("paper", "task", "model", "method", "budget"))
    if not row.metric:
        return f"{run}/seed{row.seed}: {row.verdict}"
    return f"{run}/seed{row.seed}: {row.metric} {row.a} -> {row.b}"


def _pairs(option: str, given: list[str]) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in given]
    for name, sign, value in pairs:
        if not (name and sign and value):
            raise ConfigError(f"{option}: got '{name}{sign}{value}'; it is written NAME=VALUE.")
    return [(name, value) for name, _, value in pairs]


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{where}: got '{text}', which is no number.") from None
