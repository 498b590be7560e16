"""Every point of the published curves and every count of the published masks, beside recorded runs of the same.

They are apart from the scorecard because there are thousands of them; the rules and most columns are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from prunelib.report import published
from prunelib.report.scorecard.values import TOLERANCE
from prunelib.report.scorecard.verdicts import DIFFERS, NEEDS_PAPER, NOT_COMPARED, REPRODUCED

COLUMNS = (
    "paper", "id", "task", "model", "method", "density", "step", "metric", "unit", "published", "ours", "sd", "seeds",
    "difference", "verdict", "evidence", "source", "note", "runs",
)  # fmt: skip
MASK_SEARCH = ("hourglass", "gumbel", "Set14_logfiles/mask_output_sparsity")
LAYERS = "another initial network gives another mask; drawn beside ours in the figure oes_layers"
CURVES = "peak and final value stand in the scorecard; drawn beside ours in the figure oes_curves"
# The loss: in parts of the published one, as the published searches of one picture start that far apart.
LEARNING = {"loss": "search_loss", "mean_logit": "search_mean_logit"}
SAME_LOSS = 0.2


def points(searches: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Return one row (keys of COLUMNS) for every published number that is a point of a curve or a count of a mask.

    ``searches`` are tables search.csv by the path, below results/runs, of the folder that holds them: recorded mask
    searches at the published size and settings, which are compared step by step.
    """
    return [*_learning(searches), *_curves(), *_masks()]


def _learning(searches: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    """Yield loss and mean logit of the published mask searches; the loss is of one sample, so it scatters."""
    ours = [table.assign(where=where) for where, table in searches.items() if {"loss", "mean_logit"} <= {*table}]
    every = pd.concat(ours, ignore_index=True) if ours else pd.DataFrame(columns=["task", "model", "method", "step"])
    groups = dict(list(every.groupby(["task", "model", "method", "budget", "step"]))) if len(every) else {}
    model, method, source = MASK_SEARCH
    for row in published.mask_learning().itertuples(index=False):
        task = f"denoise-{row.image}-s0.1"
        found = groups.get((task, model, method, f"density{row.density_asked:g}", row.step))
        for name, metric in LEARNING.items():
            value = getattr(row, name)
            tolerance = SAME_LOSS * value if name == "loss" else TOLERANCE[metric]
            shared = {"paper": "oes", "task": task, "model": model, "method": method, "density": row.density_asked}
            shared |= {"id": f"oes-search-{row.image}-{row.density_asked:g}-{name.replace('_', '-')}-{row.step:g}"}
            shared |= {"step": row.step, "metric": metric, "published": value}
            shared |= {"evidence": "log", "source": source}
            yield shared | _beside(value, found, name, tolerance)


def _beside(value: float, found: pd.DataFrame | None, name: str, tolerance: float) -> dict[str, Any]:
    if found is None:
        return {"verdict": NEEDS_PAPER}
    ours = found[name]
    difference = float(ours.mean()) - value
    row = {"ours": float(ours.mean()), "sd": float(ours.std()), "seeds": len(ours), "difference": difference}
    verdict = REPRODUCED if abs(difference) <= tolerance else DIFFERS
    return row | {"verdict": verdict, "runs": "; ".join(sorted(set(found["where"])))}


def _curves() -> Iterator[dict[str, Any]]:
    for row in published.curves().itertuples(index=False):
        known = row.converted == row.converted
        yield {
            "paper": "oes",
            "id": f"oes-curve-{row.series.replace('_', '-')}-{row.step:g}",
            "task": row.task,
            "model": row.model,
            "method": row.method,
            "density": row.density,
            "step": row.step,
            "metric": "psnr",
            "unit": "dB",
            "published": row.converted if known else row.psnr_logged,
            "verdict": NOT_COMPARED,
            "evidence": "log",
            "source": row.source,
            "note": CURVES if known else f"convention {row.convention}; {CURVES}",
        }


def _masks() -> Iterator[dict[str, Any]]:
    table = published.mask_layers()
    for row in table.to_dict("records"):
        for mask in published.MASKS:
            of_notebook = mask in published.MASKS[4:]
            image = "pepper" if "pepper" in mask else mask.split("_")[0]
            yield {
                "paper": "oes",
                "id": f"oes-mask-{mask.replace('_', '-')}-{row['index']:g}",
                "task": f"denoise-{image}-s0.1",
                "model": "hourglass",
                "method": "imp" if mask.startswith("imp") else "gumbel",
                "density": row[mask] / row["numel"],
                "metric": "kept",
                "published": row[mask],
                "verdict": NOT_COMPARED,
                "evidence": "notebook" if of_notebook else "file",
                "source": f"{'notebook output' if of_notebook else f'mask_{image}.pkl'}, {row['tensor']}",
                "note": LAYERS,
            }
