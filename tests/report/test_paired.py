import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from prunelib.report.claims.paired import ALPHA, flip_p, is_above, limits, paired, t_p

DIFFERENCES = [0.4, 1.1, -0.2, 0.9, 0.7, 0.5]
SOME = st.lists(st.integers(-30, 30), min_size=2, max_size=9)


def test_the_t_test_is_scipys():
    theirs = stats.ttest_1samp(DIFFERENCES, 0.0, alternative="greater")
    assert t_p(DIFFERENCES) == pytest.approx(theirs.pvalue)
    assert t_p(DIFFERENCES, 0.25) == pytest.approx(stats.ttest_1samp(DIFFERENCES, 0.25, alternative="greater").pvalue)


def test_the_sign_flip_test_is_scipys_permutation_test():
    theirs = stats.permutation_test(
        (DIFFERENCES,), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples", alternative="greater",
        vectorized=True,
    )  # fmt: skip
    assert flip_p(DIFFERENCES) == pytest.approx(theirs.pvalue) and flip_p(DIFFERENCES) == 2 / 64


def test_sizes_of_effect_and_interval():
    found = paired(DIFFERENCES)
    sd = float(np.std(DIFFERENCES, ddof=1))
    assert (found.n, found.mean, found.sd) == (6, pytest.approx(3.4 / 6), pytest.approx(sd))
    low, high = stats.t.interval(1 - 2 * ALPHA, 5, 3.4 / 6, sd / math.sqrt(6))
    assert (found.low, found.high, found.dz) == (pytest.approx(low), pytest.approx(high), pytest.approx(3.4 / 6 / sd))
    assert found.mean - found.low == pytest.approx(found.bar) and found.flip_floor == 1 / 64


@given(SOME)
@settings(deadline=None, max_examples=80)
def test_the_interval_and_the_test_say_the_same(values):
    found = paired(values, 0.5)
    assert (found.low > 0) == (t_p(values, 0.0, 0.5) < ALPHA)


@given(SOME)
@settings(deadline=None, max_examples=80)
def test_a_mean_is_never_found_on_both_sides(values):
    assert not (is_above(values) and is_above([-value for value in values]))
    assert flip_p(values) >= 2.0 ** -len(values)


def test_few_seeds():
    assert limits(paired([1.0])) == "" and math.isnan(t_p([1.0])) and not is_above([1.0])
    assert is_above([1.0, 1.1]) and flip_p([1.0, 1.1]) == 0.25  # what the t-test finds rests on normal differences
    assert limits(paired([1.0, 1.1])).startswith("2 seeds: only a mean of 6.3 standard errors")
    assert limits(paired([1.0] * 5)) == ""


def test_from_five_seeds_on_both_tests_have_to_agree():
    values = [-0.1, 1.0, 1.0, 1.0, 1.0]
    assert t_p(values) < ALPHA < flip_p(values) and not is_above(values)
    assert is_above([0.1, 1.0, 1.0, 1.0, 1.0])


def test_equal_differences_do_not_prove_that_nothing_scatters():
    assert t_p([0.02, 0.02], 0.0, 0.01) == pytest.approx(stats.t.sf(0.02 / (0.01 / math.sqrt(2)), 1))
    assert paired([0.02, 0.02], 0.01).dz == pytest.approx(2.0)


def test_many_seeds_use_the_normal_approximation():
    values = list(np.linspace(-1, 3, 17))
    assert flip_p(values) == pytest.approx(flip_p(values[:16] + values[16:]), abs=1e-12)
    assert flip_p(values) == pytest.approx(stats.norm.sf(sum(values) / math.sqrt(sum(v * v for v in values))))
