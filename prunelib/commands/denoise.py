"""``python -m prunelib denoise``: clean pictures that are noisy already, by a sparse generator trained on nothing else.

For each picture: find a mask of an untrained generator (OES, ICML 2024), train the weights it keeps on the noisy
picture, and take the generator's output, which follows the picture before it can follow the noise.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pydantic import ValidationError

from prunelib.config import Pictures
from prunelib.errors import ConfigError, PrunelibError

INTERRUPTED = 130  # what a shell expects of a program stopped by ctrl-C
EXAMPLES = """examples:
  python -m prunelib denoise photo.jpg                  estimate the noise; write photo-denoised/denoised.png and more
  python -m prunelib denoise photo.jpg --sigma 0.1      the noise's standard deviation is 25.5 of 255 grey levels
  python -m prunelib denoise a.png b.png --out cleaned  two pictures: cleaned/a/ and cleaned/b/
  python -m prunelib denoise photo.jpg --scale full     the paper's number of steps

what it costs: a picture of 512 x 512 pixels takes about 0.45 s per step of the mask search and as much per step of the
  training on 2 CPU cores (in proportion to the pixels): quick about 14 minutes, full about 12.5 hours; a GPU is faster.
stopped by ctrl-C or killed: give the same command again and it goes on where it was.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser of ``python -m prunelib``."""
    command = commands.add_parser(
        "denoise",
        help="clean noisy pictures of your own",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = command.add_argument
    default = Pictures()
    option(
        "pictures", type=Path, nargs="+", metavar="picture", help="picture files: RGB or grey, with or without alpha"
    )
    option(
        "--sigma",
        type=float,
        help="standard deviation of the noise, 0 < sigma <= 1 (default: estimated); the curve and the record tell when "
        "the training came down to it, the picture is the same",
    )
    option("--scale", choices=["quick", "full"], default=default.scale, help="steps: minutes, or the paper's")
    option("--density", type=float, default=default.density, help="fraction of the weights kept (default %(default)s)")
    option("--search-steps", type=int, help="steps of the mask search (default: that of --scale)")
    option("--steps", type=int, help="steps of the training (default: that of --scale)")
    option(
        "--pick",
        choices=["auto", "final", "stop", "average"],
        default=default.pick,
        help="the output that is kept: the last, the stopping rule's, the average of the second half (auto: average)",
    )
    option(
        "--channels",
        type=int,
        nargs="+",
        help="channels of each level of the generator (default: 16 32 64 128 128 128)",
    )
    option("--seed", type=int, default=default.seed, help="seed of the weights, the input and the search")
    option(
        "--out", type=Path, metavar="DIR", help="folder for the results (default: <name>-denoised beside the picture)"
    )
    option("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto takes a GPU where there is one")
    option("--threads", type=int, help="CPU threads (default: all cores)")
    option("--force", action="store_true", help="replace what other settings have left in the folder")
    command.set_defaults(call=run)


def run(given: argparse.Namespace) -> int:
    """Clean the pictures one after the other; a picture that fails doesn't stop the others. Return the exit code."""
    options = _options(given)
    folders = _folders(given.pictures, given.out)
    if given.threads is not None and given.threads < 1:
        raise ConfigError(f"--threads: got {given.threads}; it must be at least 1.")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    from prunelib.commands.clean import clean

    if given.threads:
        torch.set_num_threads(given.threads)
    failed = 0
    for picture, folder in zip(given.pictures, folders, strict=True):
        try:
            print(f"{picture}: writes {folder}", flush=True)
            record = clean(picture, folder, options, device=given.device, force=given.force)
            sigma = record["sigma"]
            print(f"{picture}: done; noise level {sigma['value']:.3f} ({sigma['source']}), {record['output']} output")
        except PrunelibError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            failed = 2
        except OSError as error:
            print(f"{picture}: {error.strerror} ({error.filename}).", file=sys.stderr)
            failed = 2
        except KeyboardInterrupt:
            print(f"\n{picture}: stopped; give the same command again and it goes on where it was.", file=sys.stderr)
            return INTERRUPTED
    return failed


def _options(given: argparse.Namespace) -> Pictures:
    """Check the options that the configuration has too; raises ConfigError naming the first bad one."""
    try:
        return Pictures(**{name: getattr(given, name) for name in Pictures.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise ConfigError(f"--{name}: got {first['input']}. {first['msg']}.") from None


def _folders(pictures: list[Path], out: Path | None) -> list[Path]:
    """Return the folder of each picture; raises ConfigError when two pictures would share one."""
    if out is None:
        folders = [picture.with_name(f"{picture.stem}-denoised") for picture in pictures]
    else:
        folders = [out] if len(pictures) == 1 else [out / picture.stem for picture in pictures]
    for index, folder in enumerate(folders):
        if folder in folders[:index]:
            first = pictures[folders.index(folder)]
            raise ConfigError(
                f"{first} and {pictures[index]}: both would be written to {folder}; give them two commands."
            )
    return folders
