"""``python -m prunelib verify results``: is every file still the one that was made, and from what is there now?

Every job leaves a record (*.provenance.json) beside what it made. Each file that a record names is hashed; each record
must be as it was written, and the records of the jobs before it must be those it was made from. Files that no record
names are listed, they are no error. Left out: logs, benchmarks, checkpoints, reference, and copies of finished work.
Exit code 0: everything is as recorded; 1: problems, a line for each; 2: there is nothing to verify.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from prunelib.errors import ArtefactError

EXAMPLES = """examples:
  python -m prunelib verify                    the results of this directory
  python -m prunelib verify ../sent/results    a tree that somebody sent; no other file of theirs is needed
  python -m prunelib verify results --all      name every file that no record names, not the first few
what a problem's first word says:
  changed  a file has other bytes than its job wrote        missing  a file that was made, or a record, is gone
  stale    a job's inputs were made again since             record   a record is damaged, or not one
"""
SHOWN = 10  # unrecorded files that are named unasked


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``python -m prunelib``."""
    command = commands.add_parser(
        "verify",
        help="hash everything that the records of a result tree name; exit code 1 if anything differs",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("tree", type=Path, nargs="?", default=Path("results"), help="a result tree (default: results)")
    command.add_argument("--all", action="store_true", help=f"name all unrecorded files, not the first {SHOWN}")
    command.set_defaults(call=run)


def run(given: argparse.Namespace) -> int:
    """Verify one tree, print what is found and return the exit code."""
    from tqdm import tqdm

    from prunelib.workflow.verify import Verifier

    if not given.tree.is_dir():
        raise ArtefactError(f"{given.tree}: no directory. Give a result tree, such as results.")
    with tqdm(unit=" files", disable=None, delay=2, leave=False) as bar:
        verifier, problems, unrecorded = Verifier(given.tree, lambda size: bar.update()), 0, 0
        for found in verifier.findings():
            problems, unrecorded = problems + found.problem, unrecorded + (not found.problem)
            if found.problem or given.all or unrecorded <= SHOWN:
                tqdm.write(f"{found.kind:10} {found.path}: {found.text}")
    count = verifier.count
    if not count.records:
        raise ArtefactError(f"{given.tree}: holds no record of a job (*.provenance.json); there is nothing to verify.")
    if unrecorded > SHOWN and not given.all:
        print(f"... {unrecorded - SHOWN} more that no record names: --all")
    size = f"{count.files} files ({count.bytes / 1e6:.1f} MB) of {count.records} records"
    print(f"{size}: {problems} problems, {unrecorded} files that no record names")
    return int(problems > 0)
