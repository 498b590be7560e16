"""Findings about expanders: networks that are not sparse, degrees that are no sizes, filters without input."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from prunelib.report.findings.runs import runs_table, stands_together
from prunelib.report.page.tables import Finding

FAMILIES = ("rreg", "xnet", "random-graph")
LEAKY = tuple(f"{family}{end}" for family in FAMILIES for end in ("", "-leaky"))
STEMS = tuple(f"{family}{end}" for family in FAMILIES for end in ("", "-dense-stem"))


def expander_findings(runs: pd.DataFrame) -> Iterator[Finding]:
    """Yield the findings that these runs (of this part) have evidence for."""
    pairs = [stands_together(runs, [family, f"{family}-leaky"]) for family in FAMILIES]
    leaky = pd.concat(pairs)
    if len(leaky):
        yield Finding(
            "The authors' networks are not sparse while they train",
            "Their code masks gradients, but initialises all weights after the mask was applied: a pruned weight keeps "
            "computing with its random value and fades by weight decay only. “Leaky” networks here do the same; the "
            "others hold every pruned weight at zero. Non-zero is what the trained network computes with.",
            runs_table(
                "The same graphs, strict and leaky", leaky, ("top1", "density", "density_nonzero", "macs_compact")
            ),
        )
    families = runs[runs.method.isin(STEMS)]
    by_degree = stands_together(families[families.budget.str.startswith("degree")], STEMS)
    if len(by_degree):
        yield Finding(
            "Equal degree is not equal size",
            "RReg gives every channel of the larger side its edges, XNet and random graphs every input channel, and "
            "RReg merges parallel edges: at one degree the families keep different numbers of weights. The runs at an "
            "equal density compare graphs of one size.",
            runs_table(
                "Graph families at equal degree and, where the grid has it, at equal density",
                pd.concat([by_degree, stands_together(families[families.budget.str.startswith("density")], STEMS)]),
                ("density", "graph_edges", "top1"),
            ),
        )
    if len(by_degree) and "graph_isolated_out" in by_degree:
        yield Finding(
            "XNet and random graphs leave filters without any input",
            "Nothing in their construction gives every output channel an edge. With few input channels, as in the "
            "first layer, most filters stay idle at a small degree, and later layers see little of the picture. "
            "Networks that leak hide it. RReg leaves none idle by construction.",
            runs_table(
                "Idle channels, and what a path from the image reaches",
                by_degree,
                ("graph_isolated_out", "graph_reached_out", "graph_effective_share", "top1"),
            ),
        )
