"""Short forms of a configuration mean exactly what they are written out to."""

import pytest

from prunelib.errors import ConfigError
from prunelib.expand import expanded

TASKS = {
    "denoise-{data}-s{sigma}": {
        "each": {"data": ["pepper", "lena"], "sigma": [0.05, 0.1]},
        "kind": "denoise",
        "data": "{data}",
        "sigma": "{sigma}",
    },
    "classify": {"kind": "classify", "data": "digits"},
}


def test_each_is_the_product_of_its_lists():
    tasks = expanded({"tasks": TASKS})["tasks"]
    assert list(tasks) == [
        "denoise-pepper-s0.05", "denoise-pepper-s0.1", "denoise-lena-s0.05", "denoise-lena-s0.1", "classify"
    ]  # fmt: skip
    assert tasks["denoise-lena-s0.05"] == {"kind": "denoise", "data": "lena", "sigma": 0.05}
    assert tasks["classify"] is TASKS["classify"]


def test_a_placeholder_inside_a_text_is_replaced_there():
    data = {"{name}": {"each": {"name": ["a", "b"]}, "source": "image_file", "location": "set/{name}.png"}}
    assert expanded({"data": data})["data"]["b"] == {"source": "image_file", "location": "set/b.png"}


def test_a_pattern_names_the_labels_it_fits_once_and_in_order():
    block = {"tasks": ["denoise-lena-*", "*-s0.1"], "recipe": "x*"}
    grid = expanded({"tasks": TASKS, "grid": {"oes": [block]}})["grid"]
    assert grid["oes"][0] == {
        "tasks": ["denoise-lena-s0.05", "denoise-lena-s0.1", "denoise-pepper-s0.1"],
        "recipe": "x*",
    }


def test_the_given_configuration_stays_as_it_was():
    raw = {"tasks": dict(TASKS), "grid": {"oes": [{"tasks": ["*"]}]}}
    expanded(raw)
    assert raw == {"tasks": TASKS, "grid": {"oes": [{"tasks": ["*"]}]}}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"data": {"a": {"each": ["x"]}}}, r"data.a.each: got \['x'\]"),
        ({"data": {"a": {"each": {"x": []}}}}, "data.a.each"),
        ({"data": {"a-{x}": {"each": {"x": [1], "y": [1, 2]}}}}, "makes the label 'a-1' twice"),
        ({"data": {"a-{siz}": {"each": {"size": [1]}}}}, "'{siz}' is not in its 'each'. Did you mean 'size'"),
        ({"tasks": TASKS, "grid": {"oes": [{"tasks": ["segment-*"]}]}}, "grid.oes.0.tasks: 'segment-.' fits no label"),
    ],
)
def test_what_is_malformed_is_named(raw, said):
    with pytest.raises(ConfigError, match=said):
        expanded(raw)


@pytest.mark.parametrize("raw", [{"data": None}, {"grid": []}, {"grid": {"oes": 3}}, {"grid": {"oes": [7]}}, {}])
def test_what_is_no_short_form_is_left_to_the_checks_that_follow(raw):
    assert expanded(raw) == raw
