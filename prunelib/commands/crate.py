"""``python -m prunelib crate results OUT``: a result tree as an RO-Crate, to archive it or to send it to somebody.

OUT is a .zip file or a new directory. It holds the results with their records, the workflow if it lies beside them, and
ro-crate-metadata.json, which says in a vocabulary that archives and other tools read: each file with size and sha256,
each job as an action with script, packages, inputs, outputs, start and end. The tree is verified first. Left out: logs,
benchmarks, checkpoints, reference, and copies of finished work.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from prunelib.errors import ArtefactError

EXAMPLES = """examples:
  python -m prunelib crate results my-results.zip
  python -m prunelib crate ../other/results crate/     as a directory; verify works there too: crate/results
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``python -m prunelib``."""
    command = commands.add_parser(
        "crate",
        help="export a result tree as an RO-Crate (.zip or directory)",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("tree", type=Path, help="a result tree, such as results")
    command.add_argument("out", type=Path, metavar="OUT", help="what to write: a .zip file or a new directory")
    command.set_defaults(call=run)


def run(given: argparse.Namespace) -> None:
    """Export one tree and say what is in the crate."""
    from tqdm import tqdm

    from prunelib.commands.crating import export

    if not given.tree.is_dir():
        raise ArtefactError(f"{given.tree}: no directory. Give a result tree, such as results.")
    with tqdm(unit=" files", disable=None, delay=2, leave=False) as bar:
        files, actions = export(given.tree, given.out, lambda size: bar.update())
    print(f"{given.out}: {files} files, {actions} jobs")
