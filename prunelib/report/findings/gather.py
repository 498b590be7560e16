"""What reading the published material brought to light, each finding with its evidence beside our own runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from prunelib.report import published
from prunelib.report.findings.expanders import expander_findings
from prunelib.report.findings.ising import ising_findings
from prunelib.report.findings.isomorphic import isomorphic_findings
from prunelib.report.findings.oes import more_oes_findings
from prunelib.report.page.tables import Cell, Column, Finding, Table, plain
from prunelib.report.scorecard.realised import realised
from prunelib.report.words import method_name, number

UPSTREAM = ("snip", "grasp", "synflow", "gumbel")  # the fourth is what the others stand beside


def findings(paper: str, runs: pd.DataFrame, benchmarks: Mapping[str, pd.DataFrame] | None = None) -> list[Finding]:
    """Return the findings about a paper that there is evidence for.

    ``runs`` (all runs) supply our side of it where the grid has it, ``benchmarks`` recorded tables by name.
    """
    mine = runs[runs.paper == paper]
    if paper == "oes":
        first = [_dense_baselines(mine), _two_conventions(), _two_sizes(), _collapse(runs)]
        return [*first, *more_oes_findings(mine)]
    if paper == "ising":
        return ising_findings(mine, benchmarks or {})
    if paper == "expanders":
        return list(expander_findings(mine))
    return list(isomorphic_findings(mine, benchmarks or {})) if paper == "isomorphic" else []


def _dense_baselines(runs: pd.DataFrame) -> Finding:
    rows = [*_published_baselines(), *_our_baselines(runs)]
    columns = [
        Column("Network"),
        Column("From"),
        Column("Asked (%)", "density asked for", True),
        Column("Kept (%)", "density obtained, of all parameters", True),
        Column("Kept parameters", "", True),
        Column("Peak PSNR (dB)", "data range 1", True),
        Column("Final PSNR (dB)", "data range 1", True),
    ]
    return Finding(
        "The published SynFlow and GraSP curves belong to networks that keep 95 % of the weights",
        "In the authors' code the option sparse is the share removed for random and magnitude masks, but the share "
        "kept for SNIP, SynFlow and the layer-wise GraSP. The curves drawn as 5 % baselines are almost dense and "
        "overfit as a dense network does. Masks named “authors' code” repeat that here; the others have the density "
        "asked for.",
        Table("Densities asked for and obtained, pepper and our runs", columns, rows),
    )


def _published_baselines() -> Iterator[list[Cell]]:
    rows = published.values()
    rows = rows[
        (rows.image == "pepper") & (rows.sigma == 0.1) & (rows.evidence == "log") & (rows.density_asked == 0.05)
    ]
    for method in ("gumbel", "synflow-local-upstream", "grasp-local-upstream"):
        ends = rows[rows.method == method].drop_duplicates("metric").set_index("metric")
        one = ends.loc["psnr_final"]
        peak = ends.converted["psnr_peak"]
        yield _baseline(method_name(method), "published", 0.05, one.density, one.kept, peak, one.converted)


def _our_baselines(runs: pd.DataFrame) -> Iterator[list[Cell]]:
    """Yield our masks as the authors' code has them, with the same method at equal density and OES."""
    copies = runs[runs.method.str.endswith("-upstream") & runs.budget.str.startswith("density")]
    copies = copies[copies.budget == copies.budget.min()]  # the smallest density asked for
    stems = (
        {f"{stem}{end}" for stem in UPSTREAM for end in ("", "-upstream", "-local-upstream")} if len(copies) else set()
    )
    same = runs[runs.method.isin(stems) & runs.budget.isin(copies.budget) & runs.task.isin(copies.task)]
    for (task, method, budget), rows in same.groupby(["task", "method", "budget"], sort=True):
        asked, kept = float(budget.removeprefix("density")), realised(rows).mean()
        count = rows.parameters_kept.mean() if "parameters_kept" in rows else float("nan")
        ends = [rows[name].mean() if name in rows else float("nan") for name in ("psnr_peak", "psnr_final")]
        yield _baseline(method_name(method), f"ours, {task}", asked, kept, count, *ends)


def _baseline(
    label: str, source: str, asked: float, density: float, kept: float, peak: float, final: float
) -> list[Cell]:
    shares = [plain(100 * asked, 1), plain(100 * density, 1)]
    return [Cell(label), Cell(source), *shares, plain(kept, 0), plain(peak, 2), plain(final, 2)]


def _two_conventions() -> Finding:
    values = published.values()
    rows = values[(values.dataset == "set14") & (values.evidence == "log") & (values.metric == "psnr_final")]
    rows = rows[(rows.image == "pepper") & (rows.sigma == 0.1) & rows.density_asked.isin([0.05, 1.0])]
    rows = rows[(rows.doubt == "") & (rows.model != "decoder-k4")]
    cells = [
        [
            Cell(method_name(row.method, row.model)),
            Cell(row.convention),
            plain(row.value, 2),
            plain(row.offset_to_add, 2),
            plain(row.converted, 2),
        ]
        for row in rows[rows.state == ""].itertuples()
    ]
    columns = [
        Column("Method"),
        Column("Convention", "what stands for the peak of the signal in PSNR"),
        Column("Logged (dB)", "final PSNR as in the log", True),
        Column("To add (dB)", "", True),
        Column("Data range 1 (dB)", "", True),
    ]
    return Finding(
        "Two definitions of PSNR stand in one figure",
        "The OES curves take 1 as the peak, the older scripts of the baselines the brightest pixel of the clean image. "
        "On pepper that is 0.64 dB less for the same picture, to the disadvantage of the baselines. Everything on this "
        "page is in data range 1.",
        Table("Final PSNR of pepper as logged and converted", columns, cells),
    )


def _two_sizes() -> Finding:
    values = published.values()
    rows = values[values.doubt.str.contains("another picture size") & (values.metric == "psnr_final")]
    same = values[(values.method == "gumbel") & (values.density_asked == 0.05) & (values.dataset == "set14")]
    sizes = same[same["size"] != ""].drop_duplicates("image").set_index("image")["size"]
    columns = [Column("Picture"), Column("Method"), Column("Its size"), Column("Size in the OES run")]
    cells = [
        [Cell(image), Cell(method_name(method, model)), Cell(size), Cell(sizes[image])]
        for image, method, model, size in zip(rows.image, rows.method, rows.model, rows["size"], strict=True)
    ]
    return Finding(
        "Some baselines were run on another picture size",
        "For three pictures of Set14 the logs of some baselines hold another size than the OES run they stand beside. "
        "Those values are listed in the scorecard and not compared.",
        Table("Baselines of another size", columns, cells),
    )


def _collapse(runs: pd.DataFrame) -> Finding:
    mine = runs[(runs.paper == "oes") & (runs.method == "gumbel") & runs.status.isin(["ok", "dead"])]
    asked = mine.budget.str.removeprefix("density").where(mine.budget.str.startswith("density")).astype(float)
    cells = []
    for row in published.collapse().itertuples():
        ours = mine[asked == row.density_asked]
        said = f"{int((ours.status == 'dead').sum())} of {len(ours)}" if len(ours) else number(None, 0)
        theirs = Cell(f"{int(row.dead)} of {int(row.images)}", int(row.dead))
        cells.append([plain(100 * row.density_asked, 2), theirs, Cell(said)])
    columns = [
        Column("Density (%)", "", True),
        Column("Dead, published", "of the 14 pictures of Set14", True),
        Column("Dead, ours", "of the OES runs of this grid at that density", True),
    ]
    return Finding(
        "Masks of exactly the best logits collapse at low density",
        "Nothing in the rule “keep the K largest logits” keeps a path through the network. Below 5 % density a part of "
        "the published masks let no signal through, and the network draws a constant. Here such a mask is recognised "
        "before training and called dead.",
        Table("Dead networks among OES masks", columns, cells),
    )
