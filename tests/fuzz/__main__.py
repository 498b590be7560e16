"""``python -m tests.fuzz``: feed every reader (or those named) with hostile inputs and print what was found."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests import conftest  # noqa: F401 - one thread per process, before torch is imported
from tests.fuzz.run import fuzz
from tests.fuzz.targets import all_targets


def main(arguments: list[str] | None = None) -> int:
    """Fuzz one target after the other; return 1 when anything was found."""
    known = all_targets()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"default: all; {', '.join(known)}")
    parser.add_argument("--inputs", type=int, default=100_000, help="per target (default %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="of CPU time per target at most (default %(default)g)"
    )
    parser.add_argument("--seed", type=int, default=0, help="other inputs")
    parser.add_argument("--keep", type=Path, help="a directory for the inputs of what was found")
    given = parser.parse_args(arguments)
    unknown = set(given.targets) - set(known)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    found = 0
    print(f"{'reader':32} {'inputs':>8} {'read':>8} {'CPU s':>7} {'peak MiB':>9} findings", flush=True)
    for name in given.targets or known:
        result = fuzz(known[name], given.inputs, given.seconds, given.seed, given.keep)
        found += len(result.findings)
        numbers = f"{result.inputs:8} {result.read:8} {result.cpu:7.1f} {result.peak:9.0f} {len(result.findings)}"
        print(f"{name:32} {numbers}", flush=True)
        for finding in result.findings.values():
            print(f"    {finding['what']} (input {finding['index']}): {finding['detail']}", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
