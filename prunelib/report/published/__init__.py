"""Published numbers as data: every value with where it stands, in which convention, and ours to compare it with.

Two PSNR conventions occur in the logs of OES. "data range 1" is PSNR = -10 log10(MSE); "max(clean)" puts the brightest
pixel of the clean image in place of 1 and is lower by 20 log10(1 / max(clean)). A file keeps the number as it was
logged beside what must be added to it; only the functions here add it, once, in the column ``converted``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from prunelib.errors import ArtefactError

FOLDER = Path(__file__).parent
PAPERS = ("oes", "expanders", "isomorphic", "ising")  # papers with published values here: <paper>.csv
CONVENTIONS = ("data range 1", "max(clean)", "mixed", "unknown", "")
EVIDENCE = ("log", "figure", "notebook", "table", "image", "abstract", "script", "second-hand")
HOURGLASS = 3_008_867  # entries of the published generator
VALUES = (
    "id", "paper", "dataset", "image", "task", "sigma", "size", "model", "method", "density_asked", "density", "kept",
    "metric", "value", "unit", "convention", "offset_to_add", "step", "state", "evidence", "doubt", "source",
)  # fmt: skip
SERIES = (
    "series", "image", "task", "size", "model", "method", "density_asked", "density", "kept", "round", "convention",
    "offset_to_add", "source",
)  # fmt: skip
MASKS = ("baboon_5pct", "barbara_5pct", "lena_5pct", "pepper_5pct", "pepper_3.52pct", "imp_pepper_5.49pct")
TEXT = (
    "id", "paper", "dataset", "image", "task", "size", "model", "method", "metric", "unit", "convention", "state",
    "evidence", "doubt", "source", "series", "tensor", "shape",
)  # fmt: skip


def values(paper: str = "oes") -> pd.DataFrame:
    """Return the published values of one paper: the columns of VALUES and ``converted``.

    ``value`` is as logged. ``converted`` is the same in data range 1, and NaN where the convention is mixed or unknown;
    values that are no PSNR are passed on. A row with ``doubt`` must not be used as published. Raises ArtefactError for
    a file that breaks these rules.
    """
    return _values(paper).copy()


def image_means(dataset: str = "set14") -> pd.DataFrame:
    """Return mean psnr_peak, psnr_final and psnr_gap over a set's images, converted, one row per setting.

    Columns model, method, density_asked, density (mean realised), images, and the three metrics. A setting is left out
    unless it covers as many images as the best covered one; dead networks count, as they do in the authors' means.
    """
    rows = _values("oes")
    rows = rows[(rows.dataset == dataset) & (rows.image != "mean") & (rows.evidence == "log") & (rows.sigma == 0.1)]
    rows = rows[rows.metric.isin(["psnr_peak", "psnr_final"])].assign(asked=rows.density_asked.fillna(-1))
    keys = ["model", "method", "asked"]
    means = rows.pivot_table("converted", keys, "metric", "mean")
    counts = rows.groupby(keys).agg(images=("image", "nunique"), density=("density", "mean"))
    table = counts.join(means).reset_index()
    table["psnr_gap"] = table.psnr_peak - table.psnr_final
    table["density_asked"] = table.pop("asked").where(lambda asked: asked >= 0)
    return table[table.images == table.images.max()].reset_index(drop=True)


def collapse() -> pd.DataFrame:
    """Return asked density, images and dead networks among OES's masks of exactly the best K logits, over Set14."""
    rows = _values("oes")
    rows = rows[(rows.dataset == "set14") & (rows.model == "hourglass") & (rows.method == "gumbel")]
    rows = rows[(rows.metric == "psnr_final") & (rows.evidence == "log") & (rows.sigma == 0.1) & (rows.image != "mean")]
    rows = rows[rows.density_asked < 0.5]  # the denser masks were made by rounding, not by taking the best K
    found = rows.assign(dead=rows.state == "dead").groupby("density_asked")["dead"].agg(images="size", dead="sum")
    return found.reset_index()


def curves(image: str | None = None) -> pd.DataFrame:
    """Return PSNR along training: the columns of SERIES, step, psnr_logged and ``converted`` (data range 1, dB)."""
    index = _checked(_read("oes_curve_series", SERIES), "series", "oes_curve_series.csv")
    table = _read("oes_curves", ("series", "step", "psnr_logged")).merge(index, on="series", validate="many_to_one")
    table["converted"] = table.psnr_logged + table.offset_to_add
    return table if image is None else table[table.image == image].reset_index(drop=True)


def mask_learning(density: float | None = None) -> pd.DataFrame:
    """Return the loss and the mean logit of the mask search every 1000 steps: image, density_asked, step, both."""
    table = _read("oes_mask_learning", ("image", "density_asked", "step", "loss", "mean_logit"))
    return table if density is None else table[table.density_asked == density].reset_index(drop=True)


def mask_layers() -> pd.DataFrame:
    """Return kept entries per tensor of the published masks: index, tensor (this project's name), numel, MASKS, part.

    ``part`` is "encoder" or "decoder" (the head belongs to the decoder). Raises ArtefactError when the sizes do not
    add up to the published generator.
    """
    table = _read("oes_mask_layers", ("index", "offset", "tensor", "shape", "numel", *MASKS))
    if int(table.numel.sum()) != HOURGLASS:
        raise ArtefactError(f"oes_mask_layers.csv: the tensors hold {table.numel.sum()} entries, not {HOURGLASS}.")
    part = [re.split(r"\.", name)[0].replace("head", "decoder") for name in table.tensor]
    return table.assign(part=part)


@cache
def _values(paper: str) -> pd.DataFrame:
    name = f"{paper}.csv"
    table = _checked(_read(paper, VALUES), "id", name)
    unknown = sorted(set(table.evidence) - set(EVIDENCE))
    if unknown:
        raise ArtefactError(f"{name}: evidence {unknown[0]!r}; allowed: {', '.join(EVIDENCE)}.")
    converted = (table.value + table.offset_to_add).where(table.convention != "", table.value)
    return table.assign(converted=converted)


def _read(name: str, columns: Sequence[str]) -> pd.DataFrame:
    path = FOLDER / f"{name}.csv"
    if not path.is_file():
        raise ArtefactError(f"{path.name}: no such file of published values.")
    kinds = {column: str if column in TEXT else float for column in columns}
    table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values={c: [""] for c in columns if c not in TEXT})
    if tuple(table.columns) != tuple(columns):
        raise ArtefactError(f"{path.name}: has the columns {', '.join(table.columns)}; needs {', '.join(columns)}.")
    return table


def _checked(table: pd.DataFrame, key: str, name: str) -> pd.DataFrame:
    """Return the table after checking that keys are unique and that every offset belongs to its convention."""
    twice = table[key][table[key].duplicated()]
    if len(twice):
        raise ArtefactError(f"{name}: {key} '{twice.iloc[0]}' stands there twice.")
    offset = table.offset_to_add
    allowed = {
        "data range 1": offset == 0,
        "max(clean)": offset > 0,
        "mixed": offset.isna(),
        "unknown": offset.isna(),
        "": offset == 0,
    }
    for row, convention in zip(table.index, table.convention, strict=True):
        if convention not in allowed or not allowed[convention][row]:
            what = f"convention '{convention}' with offset {offset[row]}"
            raise ArtefactError(f"{name}: {table[key][row]}: {what}; allowed: {', '.join(filter(None, CONVENTIONS))}.")
    return table
