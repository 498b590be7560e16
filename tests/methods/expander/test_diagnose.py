import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from prunelib import config
from prunelib.data.prepare import prepare
from prunelib.errors import MethodError
from prunelib.masks.mask import Mask
from prunelib.methods.expander.diagnose import diagnose, diagnose_run
from prunelib.methods.expander.graphs import sample
from prunelib.methods.expander.layers import graphs_of, mask_of
from prunelib.methods.expander.network import flow
from prunelib.methods.find import find_mask
from prunelib.models.build import build
from prunelib.models.vgg import vgg
from prunelib.tasks.base import prunable

EXAMPLE = torch.zeros(1, 2, 4, 4)


def small():
    """Two inputs, three filters of which one is dead, five classes."""
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
    pairs = torch.tensor([[1, 0], [1, 1], [0, 0]], dtype=torch.bool)
    kept = pairs[..., None, None].repeat(1, 1, 3, 3)
    kept[0, 0, 0] = False
    return model, Mask(
        {"0.weight": kept, "0.bias": torch.ones(3, dtype=torch.bool), "3.weight": torch.ones(5, 3).bool()}
    )


def test_rows_of_a_mask_counted_by_hand():
    model, mask = small()
    (first, last), network = diagnose(mask, model, EXAMPLE)
    assert (first["layer"], last["layer"]) == ("0.weight", "3.weight")
    assert (first["inputs"], first["outputs"], first["edges"], first["kept"], first["size"]) == (2, 3, 3, 24, 54)
    assert first["degrees_in"] == {"1": 1, "2": 1}
    assert first["degrees_out"] == {"0": 1, "1": 1, "2": 1}
    assert (first["isolated_in"], first["isolated_out"], first["components"]) == (0, 1, 2)
    assert (first["reached_in"], first["reached_out"], first["useful_out"]) == (2, 2, 3)
    assert (first["effective"], last["effective"]) == (24, 10)  # the classifier's column of the dead filter is idle
    assert (first["worst_in"], first["worst_out"]) == (1.0, 0.0)
    assert last["log10_paths"] == pytest.approx(np.log10(3 * 5))
    assert (network["kept"], network["size"], network["edges"], network["effective"]) == (39, 69, 18, 34)
    assert network["effective_share"] == pytest.approx(34 / 39)
    assert network["sparse"] == 1
    assert network["reached_out"] == pytest.approx(2 / 3)
    assert network["isolated_out"] == 1
    paths = np.array([[1, 1, 0], [0, 1, 0]])
    values = np.linalg.svd(paths, compute_uv=False)
    assert network["mixing"] == pytest.approx(values[1] / values[0])
    assert network["sigma2_sigma1"] == pytest.approx(first["sigma2"] / first["sigma1"])


def test_graphs_and_their_mask_have_the_same_rows():
    model = vgg(10, 2, plan=[8, "M", 16], hidden=12, dropout=0.0, conv_bias=False)
    sides = {"features.0.weight": (2, 8), "features.4.weight": (8, 16), "classifier.0.weight": (16, 12)}
    graphs = {name: sample("rreg", *pair, 3, 0, name) for name, pair in sides.items()}
    rows, network = diagnose(graphs, model, EXAMPLE)
    masked = Mask({name: kept for name, kept in mask_of(graphs, model).items() if name in graphs})
    assert (rows, network) == diagnose(masked, model, EXAMPLE)
    assert [row["layer"] for row in rows] == list(sides)
    assert rows[1]["degrees_out"] == {"3": 16}
    assert network["effective_share"] == 1


def test_a_mask_of_another_network_is_refused():
    model, _ = small()
    with pytest.raises(MethodError, match="does not fit the model"):
        diagnose({"0.weight": sample("rreg", 4, 3, 2)}, model, EXAMPLE)


@pytest.mark.parametrize(
    ("builder", "options", "side"),
    [
        ("timm", {"name": "mobilenetv3_small_050"}, 64),
        ("timm", {"name": "densenet121"}, 32),
        ("vit", {"image_side": 16, "patch": 4, "width": 24, "heads": 3, "depth": 2}, 16),
        ("squeezenet", {}, 64),
        ("alexnet", {}, 64),
    ],
)
def test_dense_networks_of_every_kind_are_alive_to_the_last_channel(builder, options, side):
    model = build({"builder": builder, "options": options}, 0, classes=10, in_channels=3)
    mask = Mask.ones(prunable(model))
    if builder == "alexnet":  # its linear layers are too large for a test
        mask = Mask({name: mask[name] for name in list(mask)[:5]})
    found = flow(graphs_of(mask, model), model, torch.zeros(1, 3, side, side))
    assert all(marks.all() for marks in found.out.values())
    values = {name: marks[-marks.size // 3 :] if ".qkv" in name else marks for name, marks in found.on.items()}
    assert all(marks.all() for marks in values.values())
    assert all(0 < paths < 600 for paths in found.log10_paths.values())


def test_a_run_is_diagnosed_from_its_files(tmp_path):
    source = {"label": "digits", "source": "digits", "options": {"side": 8, "val_share": 0.15, "test_share": 0.25}}
    prepare(source, tmp_path / "data.h5")
    options = {"plan": [8, "M", 12], "hidden": 0, "dropout": 0.0, "conv_bias": False}
    settings = {
        "task": {"kind": "classify", "options": config.checked_options("task", "classify", {}, "t")},
        "model": {"builder": "vgg", "options": options},
        "method": {
            "uses": "expander",
            "options": config.checked_options("method", "expander", {"family": "xnet"}, "m"),
        },
        "budget": {"kind": "degree", "value": 2.0},
        "seed": 3,
    }
    mask = tmp_path / "mask.h5"
    find_mask(settings, tmp_path / "data.h5", mask, None, "cpu", tmp_path / "checkpoints", 60.0)
    table, record = tmp_path / "diagnostics.csv", tmp_path / "diagnostics.json"
    diagnose_run(settings, tmp_path / "data.h5", mask, table, record)
    rows = pd.read_csv(table)
    assert list(rows["layer"]) == ["features.0.weight", "features.4.weight", "classifier.0.weight", "network"]
    assert rows["degrees_in"][1] == "2:8"
    assert rows["edges"][1] == 16
    written = json.loads(record.read_text())
    assert written["layers"][1]["degrees_in"] == {"2": 8}
    assert written["network"]["kept"] == Mask.load(mask).kept
    assert rows["sigma2"][1] == written["layers"][1]["sigma2"]
    first = table.read_bytes(), record.read_bytes()
    diagnose_run(settings, tmp_path / "data.h5", mask, table, record)
    assert first == (table.read_bytes(), record.read_bytes())
