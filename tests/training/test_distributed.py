"""Several processes: the same result as one with the same global batch, every image evaluated once, errors told."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from prunelib.errors import ArtefactError, ConfigError
from prunelib.masks.mask import Mask
from prunelib.storage.checkpoint import Checkpointer
from prunelib.storage.provenance import DETERMINISTIC
from prunelib.storage.weights import load_weights
from prunelib.tasks.base import prunable
from prunelib.tasks.classify import Classify
from prunelib.training.classify import train_classifier
from prunelib.training.distributed import World, current, joined
from prunelib.training.evaluate import evaluate
from prunelib.training.run import train_run
from tests.tiny import MODEL, recipe, settings, write_squares

VIT = {"builder": "vit", "options": {"image_side": 8, "patch": 4, "width": 16, "depth": 2, "heads": 2}}
MIX = {"mixup": 0.8, "cutmix": 1.0, "prob": 1.0, "switch": 0.5, "mode": "batch"}
# 60 images: steps of 4, 4, 4 and 3 parts, so that in the last one the processes have different shares.
PARTS = {"batch_size": 16, "micro_batch": 4, "epochs": 2, "lr": 0.02}
WAYS = {
    "batch norm, dropout, mask": (MODEL, {"augment": "crop-flip"}),
    "mixing, average, clipping": (MODEL, {"mix": MIX, "ema": 0.9, "clip_norm": 0.5, "label_smoothing": 0.1}),
    "pictures one by one": (VIT, {"transform": {"auto": "rand-m9", "erase": 0.25}, "repeats": 3, "lr_per": "step"}),
    "fewer parts than processes at the end": (MODEL, {"micro_batch": 8, "batch_size": 56, "momentum": 0.5}),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp("data") / "squares.h5", channels=3)


def together(tmp_path, work, count=2):
    """Run ``work(rank)`` in ``count`` forked processes that have joined; return what each one gives back."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                torch.set_num_threads(1)
                place = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
                os.environ |= {name: str(value) for name, value in place.items()}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
                with joined("cpu"):
                    torch.save(work(rank), tmp_path / f"{rank}.pt")
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * count
    return [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(count)]


def trained(data, way, checkpointer=None, **changes):
    """Train; return the state of the network, the history and the metrics."""
    model_of, fields = WAYS[way]
    task = Classify(data, model_of, 0)
    model = task.build()
    random = torch.Generator().manual_seed(0)
    mask = Mask({name: torch.rand(weight.shape, generator=random) < 0.5 for name, weight in prunable(model).items()})
    fields = recipe(**{**PARTS, **fields, **changes})
    result = train_classifier(task, model, fields, mask=mask, checkpointer=checkpointer)
    return {"state": model.state_dict(), "columns": result.columns, "metrics": result.metrics, "steps": result.steps}


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_give_what_one_gives(data, tmp_path, way):
    alone = trained(data, way)
    for shared in together(tmp_path, lambda rank: trained(data, way)):
        assert shared["steps"] == alone["steps"]
        for name, tensor in alone["state"].items():
            assert torch.allclose(shared["state"][name], tensor, atol=1e-6), name
        for name in ("top1", "top3", "val_top1"):
            assert shared["metrics"][name] == alone["metrics"][name]
        assert shared["metrics"]["loss"] == pytest.approx(alone["metrics"]["loss"], rel=1e-6)
        assert shared["columns"]["top1"] == alone["columns"]["top1"]
        assert shared["columns"]["loss"] == pytest.approx(alone["columns"]["loss"], rel=1e-6)


def test_every_process_ends_with_the_same_bits(data, tmp_path):
    first, second = together(tmp_path, lambda rank: trained(data, "batch norm, dropout, mask"))
    assert all(torch.equal(tensor, second["state"][name]) for name, tensor in first["state"].items())


def test_one_process_goes_on_from_what_two_have_saved(data, tmp_path):
    way = "mixing, average, clipping"
    straight = trained(data, way, epochs=4)
    together(tmp_path, lambda rank: trained(data, way, Checkpointer(tmp_path / "saved", 0, "run"), epochs=2))
    resumed = trained(data, way, Checkpointer(tmp_path / "saved", 1e9, "run"), epochs=4)
    assert len(resumed["columns"]["epoch"]) == 4
    for name, tensor in straight["state"].items():
        assert torch.allclose(resumed["state"][name], tensor, atol=1e-6), name


@pytest.mark.parametrize("batch_size", [7, 30])  # 30: one batch, so that one process has none
def test_evaluation_counts_every_image_once(data, tmp_path, batch_size):
    task = Classify(data, MODEL, 0)
    model = task.build()
    alone = evaluate(task, model, "test", batch_size)
    for shared in together(tmp_path, lambda rank: evaluate(task, model, "test", batch_size)):
        assert {name: shared[name] for name in ("top1", "top3", "top5")} == {
            name: alone[name] for name in ("top1", "top3", "top5")
        }
        assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-12)
        assert shared["top1"] * 30 == pytest.approx(round(shared["top1"] * 30), abs=1e-9)


def test_more_processes_than_parts_are_refused(data, tmp_path):
    def refused(rank):
        with pytest.raises(ConfigError, match=r"micro_batch: 2 processes can't share .* 1 part.* at most 8"):
            trained(data, "batch norm, dropout, mask", micro_batch=16)
        return current().size

    assert together(tmp_path, refused) == [2, 2]


def test_alone_there_is_nothing_to_share():
    world, model = current(), torch.nn.Linear(2, 2)
    assert world == World(0, 1) and world.leads and world.shared(model) is model
    values = torch.ones(3)
    assert world.total(values) is values


def _arguments(data: Path, folder: Path, **changes):
    fields = {**PARTS, "epochs": 1, **changes}
    outputs = {name: folder / name for name in ("weights", "history", "metrics")}
    rest = {"mask": None, "start": None, "structure": None, "device": "cpu", "checkpoint_seconds": 1e9}
    described = settings(recipe=recipe(**fields))
    return {"settings": described, "data": data, "outputs": outputs, "checkpoints": folder / "checkpoints", **rest}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun_trains_a_run_in_two_processes(data, tmp_path, monkeypatch):
    train_run(**_arguments(data, tmp_path / "one"))
    with monkeypatch.context() as patched:
        patched.setenv(DETERMINISTIC, "1")  # which the workers hear
        train_run(**_arguments(data, tmp_path / "two"), processes=8)
    one, two = (load_weights(tmp_path / name / "weights") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)
    metrics = [json.loads((tmp_path / name / "metrics").read_text()) for name in ("one", "two")]
    assert [found["provenance"]["machine"]["deterministic"] for found in metrics] == [False, True]
    assert [found["timing"]["processes"] for found in metrics] == [1, 4]  # a batch of four parts has no use for more
    assert not (tmp_path / "two" / "checkpoints").exists()
    (tmp_path / "torn.h5").write_bytes(b"torn")
    with pytest.raises(ArtefactError, match=r"torn\.h5"):  # a worker's error, in its own words
        train_run(**_arguments(tmp_path / "torn.h5", tmp_path / "three"), processes=2)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_job_leaves_no_process_behind(data, tmp_path):
    arguments = _arguments(data, tmp_path, epochs=100_000) | {"checkpoint_seconds": 0.01}
    code = (
        "import sys, json, pathlib; from prunelib.training.run import train_run; given = json.loads(sys.argv[1]); "
        "train_run(**given, processes=2)"
    )
    plain = json.dumps({**arguments, "outputs": {k: str(v) for k, v in arguments["outputs"].items()}}, default=str)
    job = subprocess.Popen([sys.executable, "-c", code, plain], cwd=Path(__file__).parents[2])

    while len(children := psutil.Process(job.pid).children(recursive=True)) < 3:  # torchrun and its two workers
        time.sleep(0.5)
    while not list((tmp_path / "checkpoints").glob("*")):
        time.sleep(0.5)
    job.send_signal(signal.SIGKILL)
    job.wait()
    deadline = time.monotonic() + 60
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.5)
