"""One of the processes of a training: ``torchrun ... -m prunelib.training.worker job.json`` runs it in each of them."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from prunelib.storage.lease import inherited
from prunelib.training.distributed import joined, note_failure, watched
from prunelib.training.run import train_run


def main(file: str) -> None:
    """Train the job in ``file``: the arguments of ``train_run`` as plain types, and the process that started it.

    A job written by hand, for several machines, leaves ``launcher`` out.
    """
    job = json.loads(Path(file).read_text(encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    try:
        with watched(job.pop("launcher", None)), inherited(), joined(job["device"]) as world:
            if not world.leads:
                logging.getLogger().setLevel(logging.WARNING)
            train_run(**job)
    except Exception as error:
        note_failure(Path(file).parent, error)
        raise


if __name__ == "__main__":
    main(sys.argv[1])
