import pandas as pd
import pytest

from prunelib.report import published
from prunelib.report.scorecard.points import COLUMNS, points
from prunelib.report.scorecard.verdicts import VERDICTS


@pytest.fixture(scope="module")
def alone():
    return pd.DataFrame(points({}), columns=list(COLUMNS)).set_index("id")


def searches(loss, logit):
    rows = {"task": "denoise-pepper-s0.1", "model": "hourglass", "method": "gumbel", "budget": "density0.05"}
    return pd.DataFrame([rows | {"seed": seed, "step": 1000.0, "loss": loss, "mean_logit": logit} for seed in (0, 1)])


def test_every_point_and_count_has_a_row(alone):
    curves, learning, masks = published.curves(), published.mask_learning(), published.mask_layers()
    assert len(alone) == len(curves) + 2 * len(learning) + len(masks) * len(published.MASKS) == 3562 + 2560 + 516
    assert alone.index.is_unique and set(alone.verdict) <= set(VERDICTS)
    assert (alone.source != "").all() and alone.published.notna().all() and (alone.evidence != "").all()


def test_counts_add_up_to_the_published_masks(alone):
    kept = alone[alone.metric == "kept"]
    sums = kept.groupby(kept.index.str.rsplit("-", n=1).str[0]).published.sum()
    assert sums["oes-mask-pepper-5pct"] == 150_443 and sums["oes-mask-imp-pepper-5.49pct"] == 165_297


def test_recorded_searches_are_compared_step_by_step(alone):
    name = "oes-search-pepper-0.05-{}-1000"
    assert alone.verdict[name.format("loss")] == "needs paper scale"
    theirs = alone.published[name.format("loss")]
    near = pd.DataFrame(points({"../reference/x": searches(1.1 * theirs, -0.02)})).set_index("id")
    row = near.loc[name.format("loss")]
    assert (row.verdict, row.seeds, row.runs) == ("reproduced", 2, "../reference/x")
    assert near.verdict[name.format("mean-logit")] == "reproduced"
    far = pd.DataFrame(points({"../reference/x": searches(1.3 * theirs, -0.2)})).set_index("id")
    assert far.verdict[name.format("loss")] == "differs" == far.verdict[name.format("mean-logit")]
