"""What a claim is here: comparisons between runs, written as data, and the rules of their answers.

A comparison pairs runs that share everything but what is compared (the same task, model, seed ...), takes the
difference of a metric in each pair and its mean per seed, and asks the tests of ``prunelib.report.claims.paired`` about
the mean d over seeds. The margin m is the smallest difference that matters:

    "above":      yes if the tests find d > 0 and d > m,   no if they find d < 0 and d < -m, else unclear
    "not below":  yes if the tests find d > -m,            no if they find d < 0 and d < -m, else unclear

With fewer than MIN_SEEDS seeds there is no answer. A side whose networks were all dead loses without a number.
An effect is compared and shown like a claim, but has no say in the paper's verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["yes", "no", "unclear", "no data"]
Need = Literal["above", "not below"]

MIN_SEEDS = 2
EQUAL_WITHIN = 0.10  # how far, relatively, two sides may differ in what a comparison holds equal
DECIBEL = 0.1  # smallest PSNR difference that counts, in dB
POINT = 0.01  # smallest top-1 difference that counts (top-1 is stored as a fraction: 0.01 is one point)

RUN = ("task", "model", "seed")
RUN_AND_BUDGET = ("task", "model", "budget", "seed")


@dataclass(frozen=True)
class Check:
    """One comparison: ``left`` against ``right`` (patterns of method labels, or a fixed number) in sign * metric.

    A pattern may have alternatives, parted by "|"; "label@model" takes the runs of the models that fit only.
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
    stated: str = "abstract"  # where in the paper, or in what its authors published; "" for an effect of our own


@dataclass(frozen=True)
class Untested:
    """A claim that no run of any configuration can speak to, and why."""

    paper: str
    name: str
    text: str
    stated: str
    why: str
