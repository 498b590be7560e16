"""``verify``: every changed byte, every missing file and every record whose inputs were made again is found."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from pathlib import Path

import pytest

from prunelib.__main__ import main
from prunelib.workflow.paths import Place
from prunelib.workflow.records import SUFFIX, Begun, read, record_of, sealed, write
from prunelib.workflow.verify import Finding, Verifier
from tests.workflow.harness import Asked, Tree

DENOISE, CLASSIFY = "oes/denoise/hourglass", "classify/resnet"
EXPANDER, COMPRESSED = "expanders/classify/vgg/expander/degree2/seed0", f"ising/{CLASSIFY}/compressed/density0.5/seed0"
MAGNITUDE, SMALLER = f"ising/{CLASSIFY}/trained_magnitude/density0.5/seed0", f"{CLASSIFY}/isomorphic/macs0.5/seed0"
JOBS = [
    *(Asked("data", name) for name in ("photo", "digits")),
    *(Asked("train", f"{paper}/{CLASSIFY}/dense/full/seed0") for paper in ("ising", "isomorphic")),
    *(Asked(kind, EXPANDER) for kind in ("graph", "diagnose", "train")),
    *(Asked(kind, MAGNITUDE) for kind in ("mask", "train", "slim")),
    Asked("compress", COMPRESSED),
    Asked("statistics", f"isomorphic/{CLASSIFY}/dense/full/seed0"),
    *(Asked(kind, f"isomorphic/{SMALLER}") for kind in ("prune", "train")),
]
MASK, TRAINED = f"runs/{EXPANDER}/mask.h5", f"runs/{EXPANDER}/train{SUFFIX}"


def record(place: Path, job: str, inputs: list[Path], output: Path) -> None:
    """Record a job that belongs to no run."""
    facts = {"job": job, "step": job, "stub": True, "identity": job, "execution": {}}
    begun = Begun(Place(place / "results/logs/x.log"), inputs)
    write(record_of([output]), begun.record(facts, {}, {output: output}))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with results of every kind of job, stand-ins all, and a table made of them."""
    tree = Tree(tmp_path_factory.mktemp("whole"), mode="stub")
    for asked in JOBS:
        assert tree.do(asked) == 0, tree.said()
    table = tree.directory / "results" / "tables" / "all_runs.csv"
    table.parent.mkdir()
    table.write_text("run,top1\n")
    record(tree.directory, "collect", sorted((tree.directory / "results" / "runs").rglob("metrics.json")), table)
    return tree.directory


@pytest.fixture
def tree(whole: Path, tmp_path: Path) -> Path:
    """A copy of the tree's results, elsewhere, without what is left out."""
    for name in ("data", "runs", "statistics", "tables"):
        shutil.copytree(whole / "results" / name, tmp_path / "sent" / name)
    return tmp_path / "sent"


def found(tree: Path) -> dict[str, set[str]]:
    """What is found, by kind."""
    kinds: dict[str, set[str]] = {}
    for one in Verifier(tree).findings():
        kinds.setdefault(one.kind, set()).add(one.path.relative_to(tree).as_posix())
    return kinds


def kinds_of_files(tree: Path) -> list[Path]:
    """One file of every name; of data sets and statistics one each."""
    files = {path.name: path for path in sorted(tree.rglob("*")) if path.is_file()}
    return list(files.values())


def test_an_untouched_tree_has_no_problem_wherever_it_lies(tree: Path, capsys) -> None:
    files = [path for path in tree.rglob("*") if path.is_file()]
    records = [path for path in files if path.name.endswith(SUFFIX)]
    assert len(records) == len(JOBS) + 1
    assert main(["verify", str(tree)]) == 0
    said = capsys.readouterr().out
    assert f"{len(files) - len(records)} files" in said and f"of {len(records)} records: 0 problems, 0 files" in said


def test_one_flipped_byte_of_any_kind_of_file_is_found(tree: Path) -> None:
    names = {path.name for path in kinds_of_files(tree)}
    assert {"mask.h5", "weights.safetensors", "metrics.json", "diagnostics.csv", "compressed.bin"} < names
    for path in kinds_of_files(tree):
        before = path.read_bytes()
        for place in (0, len(before) // 2, len(before) - 1):
            path.write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
            kind, name = "record" if path.name.endswith(SUFFIX) else "changed", path.relative_to(tree).as_posix()
            assert found(tree)[kind] == {name}, f"byte {place} of {name}"
        path.write_bytes(before)
    assert found(tree) == {}


def test_any_missing_file_is_found(tree: Path) -> None:
    for path in kinds_of_files(tree):
        if path.name == f"all_runs.csv{SUFFIX}":  # nothing else was made from what it is the record of
            continue
        before = path.read_bytes()
        path.unlink()
        leaf = path.name.endswith(SUFFIX) and "missing" not in found(tree)
        if leaf:  # what it was the record of is left without one
            assert found(tree).keys() == {"unrecorded"}
        else:
            assert path.relative_to(tree).as_posix() in found(tree)["missing"]
        path.write_bytes(before)


def test_what_a_training_was_made_from_may_not_be_made_anew_unseen(tree: Path) -> None:
    """Another mask with a right record: what was diagnosed and trained with the first one is stale."""
    (tree / MASK).write_bytes(b"another mask")
    path = tree / f"runs/{EXPANDER}/graph{SUFFIX}"
    content = read(path)
    (name,) = content["outputs"]
    digest = "9b0d2c4393e9d363d1150cc2d7185951f1b589378a2170b5ad087c14da2afdc8"
    write(path, sealed(content | {"outputs": {name: digest}}))
    assert found(tree) == {
        "changed": {MASK},
        "stale": {TRAINED, f"runs/{EXPANDER}/diagnose{SUFFIX}"},
    }


def test_an_input_that_is_nobodys_result_is_checked_while_it_is_there(tree: Path) -> None:
    picture, output = tree.parent / "mine.png", tree / "data" / "mine.h5"
    picture.write_bytes(b"pixels")
    output.write_bytes(b"data")
    os.rename(tree, tree.with_name("results"))
    tree = tree.with_name("results")
    record(tree.parent, "prepare_data", [picture], tree / "data" / "mine.h5")
    assert found(tree) == {}
    picture.write_bytes(b"others")
    assert found(tree) == {"stale": {f"data/mine.h5{SUFFIX}"}}
    picture.unlink()
    assert found(tree) == {}


def test_files_without_a_record_are_named_and_are_no_error(tree: Path, capsys) -> None:
    for number in range(12):
        (tree / "tables" / f"notes{number:02}.txt").write_text("mine")
    assert main(["verify", str(tree)]) == 0
    said = capsys.readouterr().out
    assert said.count("no record names it") == 10 and "2 more" in said and "0 problems, 12 files" in said
    assert main(["verify", str(tree), "--all"]) == 0
    assert capsys.readouterr().out.count("no record names it") == 12


def test_problems_are_a_line_each_and_exit_code_one(tree: Path, capsys) -> None:
    (tree / MASK).write_bytes(b"")
    (tree / "data" / "photo.h5").unlink()
    assert main(["verify", str(tree)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("missing") and "photo.h5" in lines[0]
    assert lines[1].startswith("changed") and MASK in lines[1]
    assert len(lines) == 3 and "2 problems" in lines[2]


def test_a_tree_without_records_is_an_error_of_its_own(tmp_path: Path, capsys) -> None:
    assert main(["verify", str(tmp_path)]) == 2 and "nothing to verify" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "none")]) == 2 and "no directory" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["/etc/passwd", "results/../../secret", "elsewhere/x"])
def test_a_hostile_record_leads_nowhere(tree: Path, name: str) -> None:
    content = read(tree / TRAINED)
    for field in ("outputs", "parents"):
        write(tree / TRAINED, sealed(content | {field: {name: "0" * 64}}))
        assert TRAINED in found(tree)["record"]
    write(tree / TRAINED, sealed(content | {"inputs": {"/dev/zero": "0" * 64}}))
    assert "record" not in found(tree)  # a device is not read


def test_files_are_not_held(tree: Path) -> None:
    path = tree / "tables" / "large.csv"
    with open(path, "wb") as stream:
        stream.truncate(64 * 2**20)
    os.rename(tree, tree.with_name("results"))
    record(tree.parent, "collect", [], tree.with_name("results") / "tables" / "large.csv")
    tracemalloc.start()
    try:
        assert list(Verifier(tree.with_name("results")).findings()) == []
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_only_unrecorded_files_are_no_problem() -> None:
    kinds = ("changed", "missing", "stale", "record", "unrecorded")
    assert [Finding(kind, Path("x"), "").problem for kind in kinds] == [True] * 4 + [False]
