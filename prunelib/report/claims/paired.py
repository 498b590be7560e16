"""The paired test behind every claim: differences between two methods, one per seed.

Several pairs of one seed (tasks, models, budgets) are averaged first: they share data and initial weights, so only
seeds are independent of each other. With n seeds, mean d, sd s and se = s / sqrt(n), two one-sided tests at ALPHA:

    t-test        p = P(T > (d - null) / se), T with n - 1 degrees of freedom; it supposes normal differences
    sign-flip     p = the share of the 2^n ways to flip the signs of (difference - null) whose mean is as large; exact,
                  supposes only that without an effect both signs are as likely. It can't go below 2^-n.

The t-test decides; from FLIP_SEEDS seeds on, where the sign-flip test can reach ALPHA, it has to agree. The interval is
the t-interval that leaves ALPHA on each side, so its ends say what the two tests say. d_z = d / s is the standardised
effect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

ALPHA = 0.05  # of each one-sided test
FLIP_SEEDS = 5  # 2^-5 = 0.03 is the first below ALPHA
FEW = 4  # seeds up to which a claim's row says what the test can't say
EXACT = 16  # beyond so many seeds the normal approximation of the signed mean is used instead of all 2^n flips


@dataclass(frozen=True)
class Paired:
    """What the test found: all in the unit of the differences but ``dz``, p-values and ``n``.

    ``low``, ``high``: t-interval with ALPHA on each side. ``bar``: the least mean that this spread lets the t-test
    tell from 0. ``flip_floor``: the least p that the sign-flip test can give. From one seed all but the mean is NaN.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float
    dz: float
    bar: float
    flip_floor: float


def paired(differences: Sequence[float], least_sd: float = 0.0) -> Paired:
    """Return mean, spread, interval and effect size of the differences, one per seed.

    ``least_sd``: counts (top-1) repeat themselves, so a few equal differences do not prove that there is no spread; a
    smaller sd than this counts as this in interval, bar and d_z.
    """
    values = np.asarray(differences, dtype=float)
    n, mean = len(values), float(values.mean())
    if n < 2:
        return Paired(n, mean, *(math.nan,) * 5, flip_floor=1.0 / 2**n)
    sd = float(values.std(ddof=1))
    spread = max(sd, least_sd, 1e-12)
    reach = float(stats.t.ppf(1 - ALPHA, n - 1)) * spread / math.sqrt(n)
    return Paired(n, mean, sd, mean - reach, mean + reach, mean / spread, reach, 2.0**-n)


def t_p(differences: Sequence[float], null: float = 0.0, least_sd: float = 0.0) -> float:
    """Return the one-sided p-value of the t-test that the mean lies above ``null``; NaN for fewer than two seeds."""
    found = paired(differences, least_sd)
    if found.n < 2:
        return math.nan
    se = max(found.sd, least_sd, 1e-12) / math.sqrt(found.n)
    return float(stats.t.sf((found.mean - null) / se, found.n - 1))


def flip_p(differences: Sequence[float], null: float = 0.0) -> float:
    """Return the one-sided p-value of the exact sign-flip test that the differences lie above ``null``."""
    values = np.asarray(differences, dtype=float) - null
    n = len(values)
    if n > EXACT:
        scale = math.sqrt(float((values**2).sum()))
        return float(stats.norm.sf(values.sum() / scale)) if scale else 1.0
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    sums = signs @ values
    return float((sums >= sums[0] - 1e-9 * np.abs(values).sum()).mean())  # sums[0]: no sign flipped


def is_above(differences: Sequence[float], null: float = 0.0, least_sd: float = 0.0) -> bool:
    """Say whether the tests find the mean above ``null`` (see the module)."""
    if len(differences) < 2 or not t_p(differences, null, least_sd) <= ALPHA:
        return False
    return len(differences) < FLIP_SEEDS or flip_p(differences, null) <= ALPHA


def limits(found: Paired) -> str:
    """Say in a sentence what the tests can't say with so few seeds; empty with more than FEW."""
    if not 2 <= found.n <= FEW:
        return ""
    errors = float(stats.t.ppf(1 - ALPHA, found.n - 1))
    return (
        f"{found.n} seeds: only a mean of {errors:.1f} standard errors or more counts, and it rests on normal "
        f"differences, as the sign-flip test can't go below p = {found.flip_floor:g}"
    )
