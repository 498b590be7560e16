"""What structural pruning did to every group of channels, read from the records of runs without loading a network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from prunelib.errors import ArtefactError
from prunelib.report.tables import LABELS, read_table
from prunelib.runs import Run
from prunelib.storage.files import read_json

TENTHS = tuple(f"score_{10 * tenth}" for tenth in range(11))
COLUMNS = (*LABELS, "seed", "index", "group", "set", "before", "after", "heads_before", "heads_after", *TENTHS)


def read_structures(paths: Iterable[Path]) -> pd.DataFrame:
    """Return a tidy frame (COLUMNS), one row per group of every pruned.json, in the network's order.

    A path that ends in .csv is a table of recorded runs that already has these columns.

    before, after: channels; heads_*: attention heads where the group is one of attention; score_0 ... score_100: the
    scores' least, tenths and greatest in the dense network; set: number of the isomorphic set. An absent record and a
    stand-in of stub mode add nothing. The run is known by the record's directory. Raises ArtefactError for a record of
    something else.
    """
    found = [path for path in sorted(map(Path, paths)) if path.exists()]
    rows = [row for path in found if path.suffix != ".csv" for row in _rows(path)]
    recorded = [read_table(path) for path in found if path.suffix == ".csv"]
    return pd.concat([pd.DataFrame(rows, columns=list(COLUMNS)), *recorded], ignore_index=True)[list(COLUMNS)]


def _rows(path: Path) -> list[dict[str, Any]]:
    run = Run.parse("/".join(path.absolute().parent.parts[-6:]))
    labels = {name: getattr(run, name) for name in (*LABELS, "seed")}
    record = read_json(path)
    if record.get("stub"):
        return []
    try:
        groups = record["pruning"]["groups"]
        return [labels | {"index": index} | _group(group) for index, group in enumerate(groups)]
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{path}: not a record of structural pruning ({error}); run it again.") from None


def _group(group: dict[str, Any]) -> dict[str, Any]:
    heads = group.get("heads") or [[None], [None]]
    kept = {"group": group["name"], **{name: group[name] for name in ("set", "before", "after")}}
    kept |= {"heads_before": heads[0][0], "heads_after": heads[1][0]}
    return kept | dict(zip(TENTHS, group["score_deciles"], strict=True))
