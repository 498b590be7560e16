"""Each paper's central claim as a few comparisons between runs, written as data, and the verdict they lead to.

A comparison pairs runs that share everything but what is compared (the same task, model, seed ...), takes the
difference of a metric in each pair, and looks at its mean d, its standard error s = sd / sqrt(n) and a margin m:

    "above":      yes if d > max(m, s), no if d < -max(m, s), else unclear
    "not below":  yes if d >= -m,       no if d < -max(m, s), else unclear

With fewer than MIN_PAIRS pairs there is no answer. A side whose networks were all dead loses without a number.
An effect is compared and shown like a claim, but has no say in the paper's verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["yes", "no", "unclear", "no data"]
Need = Literal["above", "not below"]

MIN_PAIRS = 2
EQUAL_WITHIN = 0.10  # how far, relatively, two sides may differ in what a comparison holds equal
DECIBEL = 0.1  # smallest PSNR difference that counts, in dB
POINT = 0.01  # smallest top-1 difference that counts (top-1 is stored as a fraction: 0.01 is one point)

RUN = ("task", "model", "seed")
RUN_AND_BUDGET = ("task", "model", "budget", "seed")


@dataclass(frozen=True)
class Check:
    """One comparison: ``left`` against ``right`` (patterns of method labels, or a fixed number) in sign * metric.

    A pattern may have alternatives, parted by "|".
    """

    name: str
    text: str
    left: str
    right: str | float
    metric: str
    needs: Need = "above"
    margin: float = 0.0
    sign: int = 1
    pair_by: tuple[str, ...] = RUN
    equal: str = ""  # a metric in which the two sides of a pair must agree within EQUAL_WITHIN
    higher: str = ""  # a metric in which the left side of a pair must be higher than the right
    smallest: str = ""  # look only at the smallest budget of this kind, per task and model
    optional: bool = False  # the claim can be judged without it
    headline: bool = False  # also shown on the overview
    effect: bool = False  # of interest beside the claim, not part of it


def _oes_baseline(label: str, name: str) -> Check:
    return Check(
        f"above-{label}",
        f"OES ends above {name} at equal density",
        "gumbel",
        label,
        "psnr_final",
        margin=DECIBEL,
        equal="density",
        optional=True,
    )


OES = (
    Check(
        "smaller-gap",
        "After its peak, OES loses less PSNR than dense",
        "gumbel",
        "dense",
        "psnr_gap",
        margin=DECIBEL,
        sign=-1,
        headline=True,
    ),
    Check("above-dense", "OES ends above dense", "gumbel", "dense", "psnr_final", margin=DECIBEL, headline=True),
    _oes_baseline("random", "random masks"),
    _oes_baseline("magnitude", "magnitude"),
    _oes_baseline("snip", "SNIP"),
    _oes_baseline("grasp", "GraSP"),
    _oes_baseline("synflow", "SynFlow"),
    _oes_baseline("imp", "IMP"),
    Check(
        "transfers",
        "With a mask from another image, training ends above dense",
        "gumbel-from-*",
        "dense",
        "psnr_final",
        margin=DECIBEL,
        optional=True,
        headline=True,
    ),
)

RREG, XNET, RANDOM_GRAPH = (f"{name}|{name}-dense-stem" for name in ("rreg", "xnet", "random-graph"))
STRICT_GRAPHS = f"{RREG}|{XNET}|{RANDOM_GRAPH}|ramanujan|rreg-merge"


def _expander(
    name: str, text: str, left: str, right: str, headline: bool = False, effect: bool = False, needs: Need = "above"
) -> Check:
    return Check(
        name,
        text,
        left,
        right,
        "top1",
        needs=needs,
        margin=POINT,
        pair_by=RUN_AND_BUDGET,
        smallest="degree",
        optional=effect,
        headline=headline,
        effect=effect,
    )


def _peer(label: str, name: str) -> Check:
    text = f"RReg is not below {name} with as many weights"
    return _expander(f"rreg-{label}", text, RREG, f"{label}|{label}-dense-stem", effect=True, needs="not below")


EXPANDERS = (
    _expander("rreg-random", "RReg beats random graphs at the smallest degree", RREG, RANDOM_GRAPH, headline=True),
    _expander("rreg-xnet", "RReg beats XNet at the smallest degree", RREG, XNET, headline=True),
    _expander("xnet-random", "XNet does not beat random graphs there", RANDOM_GRAPH, XNET, needs="not below"),
    _expander(
        "leaky-strict",
        "Pruned weights that stay in the forward pass (as in the authors' code) raise RReg's accuracy there",
        "rreg-leaky",
        "rreg",
        effect=True,
    ),
    _expander(
        "rreg-random-leaky",
        "RReg beats random graphs there as the authors' code runs both",
        "rreg-leaky-shared*",
        "random-graph-leaky-shared*",
        effect=True,
    ),
    Check(
        "expansion",
        "Of two graphs with as many edges, the one that expands more ends higher",
        STRICT_GRAPHS,
        STRICT_GRAPHS,
        "top1",
        margin=POINT,
        pair_by=RUN_AND_BUDGET,
        equal="graph_edges",
        higher="graph_expansion",
        optional=True,
        effect=True,
    ),
    _peer("erk", "ERK"),
    _peer("snip", "SNIP"),
    _peer("synflow", "SynFlow"),
    _peer("phew", "PHEW"),
)


def _isomorphic(metric: str, when: str, other: str, effect: bool = False) -> Check:
    return Check(
        f"{metric}-{other}",
        f"Isomorphic is not below {other} ranking {when}",
        "isomorphic",
        other,
        metric,
        needs="not below",
        margin=POINT,
        pair_by=RUN_AND_BUDGET,
        equal="macs_compact",
        optional=effect,
        headline=metric == "top1" and not effect,
        effect=effect,
    )


ISOMORPHIC = (
    _isomorphic("top1", "after fine-tuning", "global"),
    _isomorphic("top1", "after fine-tuning", "local"),
    _isomorphic("top1_start", "before fine-tuning", "global"),
    _isomorphic("top1_start", "before fine-tuning", "local"),
    _isomorphic("top1", "after fine-tuning", "uniform", effect=True),
    _isomorphic("top1_start", "before fine-tuning", "uniform", effect=True),
)


def _ising(energy: str, name: str, drop: float, optional: bool) -> tuple[Check, ...]:
    return (
        Check(
            f"{energy}-half",
            f"{name}: about half of the weights go, or more (kept ≤ 55 %)",
            energy,
            0.5,
            "density",
            needs="not below",
            margin=0.05,
            sign=-1,
            optional=optional,
        ),
        Check(
            f"{energy}-drop",
            f"{name}: top-1 falls by at most {100 * drop:g} points against dense",
            energy,
            "dense",
            "top1",
            needs="not below",
            margin=drop,
            optional=optional,
            headline=True,
        ),
        Check(
            f"{energy}-magnitude",
            f"{name} beats magnitude pruning at the same kept share",
            energy,
            "*magnitude*",
            "top1",
            margin=POINT,
            equal="density",
            optional=optional,
            headline=not optional,
        ),
    )


ISING = (*_ising("ising", "Ising energy", 0.10, False), *_ising("margin", "Margin energy", 0.05, True))

CLAIMS: dict[str, tuple[Check, ...]] = {"oes": OES, "expanders": EXPANDERS, "isomorphic": ISOMORPHIC, "ising": ISING}
