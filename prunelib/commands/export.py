"""``python -m prunelib export``: write a trained network as ONNX or as a torch.export program, and check the file.

The file takes batches of any size. It is run on random inputs and compared with the network before it gets its name: an
ONNX file by onnxruntime, a .pt2 file by torch.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from prunelib.errors import ConfigError

EXAMPLES = """examples:
  python -m prunelib export results/runs/isomorphic/classify-digits/vit-small/isomorphic/macs0.5/seed0 --to onnx
  python -m prunelib export resnet50-2.0G/model.safetensors --to torch --out model.pt2
  python -m prunelib export model.safetensors --to onnx --input 3x224x224
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``python -m prunelib``."""
    command = commands.add_parser(
        "export",
        help="write a trained network as ONNX or torch.export program",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("network", type=Path, help="a run's directory, or a .safetensors file with its .json record")
    command.add_argument("--to", choices=["onnx", "torch"], required=True, help="form of the file")
    command.add_argument("--out", type=Path, metavar="FILE", help="the file to write (default: in the same directory)")
    command.add_argument("--input", metavar="CxHxW", help="what the network sees (default: what its record says)")
    command.add_argument("--force", action="store_true", help="replace the file to write if it is there")
    command.set_defaults(call=run)


def run(given: argparse.Namespace) -> None:
    """Export one network and say how close the file comes to it."""
    suffix = {"onnx": ".onnx", "torch": ".pt2"}[given.to]
    directory = given.network.is_dir()
    target = given.out or (given.network / f"model{suffix}" if directory else given.network.with_suffix(suffix))
    if target.suffix != suffix:
        raise ConfigError(f"--out: got {target}; the file's name must end in {suffix}.")
    if target.exists() and not given.force:
        raise ConfigError(f"{target}: already there. Choose another file (--out), or replace it (--force).")
    shape = _shape(given.input)
    from prunelib.commands.deploy import deploy

    worst = deploy(given.network, given.to, target, shape)
    size = target.stat().st_size / 2**20
    print(f"{target}: {size:.2f} MiB; differs from the network by {worst:.1e} of the largest output")


def _shape(text: str | None) -> tuple[int, int, int] | None:
    """Read "3x224x224"; raises ConfigError."""
    if text is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*){2}", text):
        raise ConfigError(f"--input: got {text}; it must be channels, height and width, for example 3x224x224.")
    channels, height, width = map(int, text.split("x"))
    return channels, height, width
