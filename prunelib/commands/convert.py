"""``python -m prunelib convert-pickle``: take the tensors out of a pickled network, running nothing of it.

Files of torch.save (.pt, .pth, .ckpt, .bin) are pickles, and a pickle may run any code when it is read in the usual
way. Here no name in it is imported or called; what can be read are tensors in a state dict, in a whole pickled module,
or in a checkpoint that holds one of the two. A process of its own reads it, without network and with bounded rights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from prunelib.errors import ConfigError

EXAMPLES = """examples:
  python -m prunelib convert-pickle model.pth                     writes model.safetensors
  python -m prunelib convert-pickle last.pth --key state_dict_ema  the averaged weights of a checkpoint that holds more
  python -m prunelib convert-pickle old.pth --out new.safetensors
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``python -m prunelib``."""
    command = commands.add_parser(
        "convert-pickle",
        help="turn a pickled network (.pth) into safetensors without running it",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("file", type=Path, help="what torch.save wrote")
    command.add_argument("--key", default="", help="where the checkpoint keeps the network (default: the only one)")
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="the file to write (default: FILE.safetensors beside)"
    )
    command.add_argument("--force", action="store_true", help="replace the file to write if it is there")
    command.set_defaults(call=run)


def run(given: argparse.Namespace) -> None:
    """Convert one file and say what came out; raises ConfigError when that would replace something unasked."""
    target = given.out or given.file.with_suffix(".safetensors")
    if target.suffix != ".safetensors":
        raise ConfigError(f"--out: got {target}; the file's name must end in .safetensors.")
    if target.exists() and not given.force:
        raise ConfigError(f"{target}: already there. Choose another file (--out), or replace it (--force).")
    from prunelib.storage.legacy import convert_pickle

    count = convert_pickle(given.file, target, given.key)
    print(f"{target}: {count} tensors of {given.file}")
