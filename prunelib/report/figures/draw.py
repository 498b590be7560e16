"""Draw every figure of the report from the tables and histories; each comes with the numbers behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from prunelib.report.crossover import crossover
from prunelib.report.figures.classify import expanders_degree, ising_kept, ising_search, isomorphic_modes
from prunelib.report.figures.crossover import crossover_methods, fronts
from prunelib.report.figures.energy import BENCHMARK, ising_energy
from prunelib.report.figures.graphs import expanders_masks, expanders_ramanujan, read_graphs
from prunelib.report.figures.isomorphic import isomorphic_scores, isomorphic_widths
from prunelib.report.figures.oes import oes_curves, oes_final
from prunelib.report.figures.pictures import oes_pictures
from prunelib.report.figures.plots import Drawing, placeholder, save, style
from prunelib.report.figures.published import oes_layers, oes_published, read_reference
from prunelib.report.figures.spectra import expanders_spectrum
from prunelib.report.histories import History, read_histories
from prunelib.report.layers import read_layers
from prunelib.report.reference import Reference
from prunelib.report.structures import read_structures
from prunelib.report.tables import read_table


@dataclass(frozen=True)
class Results:
    """What figures are drawn from.

    All runs, histories, kept entries per layer, recorded mask searches, widths; what else was recorded, masks' files
    for their maps, their graphs layer by layer, and the crossover.
    """

    runs: pd.DataFrame
    histories: Sequence[History]
    layers: pd.DataFrame
    reference: pd.DataFrame
    structures: pd.DataFrame
    recorded: Reference = field(default_factory=lambda: Reference.read([]))
    maps: Sequence[Path] = ()
    graphs: pd.DataFrame = field(default_factory=lambda: read_graphs([]))
    crossover: pd.DataFrame = field(default_factory=pd.DataFrame)


def _of(draw: Callable[[pd.DataFrame, Sequence[History]], Drawing | None]) -> Callable[[Results], Drawing | None]:
    return lambda results: draw(results.runs, results.histories)


# In the order, and under the names, of prunelib.report.figures.captions.
FIGURES: dict[str, Callable[[Results], Drawing | None]] = {
    "oes_curves": _of(oes_curves),
    "oes_final": _of(oes_final),
    "oes_pictures": _of(oes_pictures),
    "oes_layers": lambda results: oes_layers(results.layers),
    "oes_published": lambda results: oes_published(results.runs, results.reference),
    "expanders_degree": _of(expanders_degree),
    "expanders_masks": lambda results: expanders_masks(results.maps),
    "expanders_ramanujan": lambda results: expanders_ramanujan(results.graphs),
    "expanders_spectrum": lambda results: expanders_spectrum(results.runs),
    "isomorphic_modes": _of(isomorphic_modes),
    "isomorphic_widths": lambda results: isomorphic_widths(results.structures),
    "isomorphic_scores": lambda results: isomorphic_scores(results.structures),
    "ising_kept": lambda results: ising_kept(pd.concat([results.runs, *results.recorded.runs.values()])),
    "ising_search": _of(ising_search),
    "ising_energy": lambda results: ising_energy(results.runs, results.recorded.benchmarks.get(BENCHMARK)),
    "crossover_methods": lambda results: crossover_methods(results.crossover),
    "cost_fronts": lambda results: fronts(results.runs),
}


def draw_figures(
    tables: Path,
    histories: Iterable[Path],
    output: Path,
    masks: Iterable[Path] = (),
    reference: Iterable[Path] = (),
    structures: Iterable[Path] = (),
    recorded: Iterable[Path] = (),
    maps: Iterable[Path] = (),
    diagnostics: Iterable[Path] = (),
) -> None:
    """Write <name>.svg, .png and .csv for every figure of prunelib.report.figures.captions into ``output``.

    ``tables`` is the directory of all_runs.csv, beside provenance/runtimes.csv; ``histories`` are history.h5 paths,
    ``masks`` and ``maps`` mask.h5 paths, ``structures`` pruned.json paths, ``diagnostics`` diagnostics.json paths
    (absent ones are skipped), ``reference`` CSV files of recorded mask searches, ``recorded`` those of
    recorded runs and benchmarks. A figure without data is a card that says so and an empty CSV, so that the set of
    files never varies. Only the crossover's figure shows times.
    """
    runs, tables = read_table(Path(tables) / "all_runs.csv"), Path(tables)
    table = crossover(runs, read_table(tables.parent / "provenance" / "runtimes.csv"))
    files = read_histories(histories), read_layers(masks), read_reference(reference), read_structures(structures)
    results = Results(runs, *files, Reference.read(recorded), list(map(Path, maps)), read_graphs(diagnostics), table)
    with style():
        for name, draw in FIGURES.items():
            save(draw(results) or placeholder("No finished run to draw yet."), name, Path(output))
