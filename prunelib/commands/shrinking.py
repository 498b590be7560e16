"""Shrink one network for one folder of pictures: the settings of two runs, the grid's own steps, files for a user.

Needs torch when called, not when imported.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prunelib import registry
from prunelib.commands.work import claim, finished
from prunelib.config import load
from prunelib.errors import ConfigError, DataError, nearest
from prunelib.runs import Grid, Run
from prunelib.storage.files import atomic_path, sha256, write_json, write_text
from prunelib.workflow.digest import code_digest, used_by

FILES = ("model.safetensors", "model.json", "report.txt", "report.json")
PUBLISHED, RANDOM = "published", "none"
CROP = 8 / 7  # the shorter edge over the side that is seen, as ImageNet's 256 to 224
SAID = ("mode", "criterion", "rounds", "round_to", "remove_blocks")


@dataclass(frozen=True)
class Shrink:
    """What a user asks for; ``budget`` is a label of runs.Budget, ``weights`` a file, "published" or "none"."""

    model: str
    data: str
    budget: str
    weights: str | None = None
    mode: str = "isomorphic"
    criterion: str = "taylor"
    batches: int = 50
    rounds: int = 1
    round_to: int = 8
    remove_blocks: int = 0
    epochs: int = 0
    dense_epochs: int = 0
    lr: float = 3e-4
    batch_size: int = 64
    side: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Origin:
    """Where the network comes from: a model of the registry; weights that fit it exactly; the side of its pictures.

    Without a ``side`` pictures are what the architecture's published weights want.
    """

    model: dict[str, Any]
    start: Path | None = None
    side: int | None = None


@dataclass(frozen=True)
class Plan:
    """The two runs of a command, their settings, and where their files lie while the work is going on."""

    grid: Grid
    work: Path

    def run(self, method: str) -> Run:
        """The run called "dense" or "shrink"."""
        return next(run for run in self.grid.runs if run.method == method)

    def settings(self, method: str) -> dict[str, Any]:
        """What the steps of a run need to know."""
        return self.grid.describe(self.run(method))

    def file(self, method: str, name: str) -> Path:
        """One file of a run."""
        return self.work / self.run(method).path / name

    @property
    def data(self) -> Path:
        """The prepared data file."""
        return self.work / "data.h5"


def shrink(
    asked: Shrink,
    folder: Path,
    device: str = "auto",
    checkpoint_seconds: float = 60.0,
    *,
    force: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Prune a network to a budget, fine-tune it, write FILES to ``folder`` and return the report.

    Unfinished work lies in ``folder``/unfinished and the same call goes on with it; it is removed at the end. A
    finished folder of the same request is left as it is; with ``force`` it is made again. Raises ConfigError for an
    unknown network or option, DataError for the pictures or the download, ArtefactError for weights that don't fit,
    MethodError for a network that can't be pruned or a budget that can't be reached.
    """
    work = folder / "unfinished"
    origin = origin_of(asked, work)
    plan = Plan(Grid(load(configuration(asked, origin))), work)
    files = [path for path in (origin.start, _weights_file(asked)) if path is not None]
    request = {"shrink": asdict(asked), "files": {path.name: sha256(path) for path in files}}
    if not force and (record := finished(folder, FILES, request)):
        return record
    code = code_digest(Path(__file__), used_by(plan.settings("shrink"), "train"))
    claim(folder, FILES, work, request | {"code": code}, force, "another network or other settings")
    _steps(asked, origin, plan, device, checkpoint_seconds, say)
    return _publish(plan, folder, request)


def origin_of(asked: Shrink, work: Path) -> Origin:
    """Find the network that a name or a path means; published weights will lie in ``work``; raises ConfigError."""
    if Path(asked.model).exists():
        if asked.weights is not None:
            raise ConfigError(f"--weights: {asked.model} is a saved network and has weights; leave the option out.")
        return _saved(Path(asked.model), asked.side)
    model = _named(asked.model)
    options: dict[str, Any] = {"name": model["name"]}
    if asked.weights != RANDOM:
        options["weights"] = str(_weights_file(asked) or (work / "published.safetensors").absolute())
    if asked.side and model["fixed"]:
        options["image_side"] = asked.side
    return Origin({"builder": model["builder"], "options": options}, None, asked.side)


def _saved(path: Path, side: int | None) -> Origin:
    from prunelib.models.saved import METRICS, find
    from prunelib.models.structure import SAVED

    found = find(path)
    side = side or found.facts.get("input", [None])[-1]
    if side is None:
        raise ConfigError(f"--side: {found.description} does not say how large the network's pictures are; give it.")
    if found.description.name == METRICS:
        return Origin(found.facts["settings"]["model"], found.weights.absolute(), side)
    location = found.description.with_suffix(".safetensors").absolute()
    start = None if location == found.weights.absolute() else found.weights.absolute()
    return Origin({"builder": SAVED, "options": {"location": str(location)}}, start, side)


def _named(name: str) -> dict[str, Any]:
    """Return the builder of an architecture's name, and whether its image size is fixed."""
    import timm
    import torchvision

    if timm.is_model(name):
        found = timm.get_pretrained_cfg(name)
        return {"builder": "timm", "name": name, "fixed": bool(found and found.fixed_input_size)}
    known = torchvision.models.list_models(module=torchvision.models)
    if name in known:
        return {"builder": "torchvision", "name": name, "fixed": name.startswith("vit_")}
    hint = nearest(name, [*timm.list_models(), *known])
    raise ConfigError(f"{name}: neither a file or run, nor an architecture of timm or torchvision.{hint}")


def _weights_file(asked: Shrink) -> Path | None:
    if asked.weights in (None, PUBLISHED, RANDOM):
        return None
    path = Path(asked.weights)
    if not path.is_file():
        raise ConfigError(
            f"--weights: got {path}, which is no file. Allowed: a .safetensors file, {PUBLISHED}, {RANDOM}."
        )
    return path.absolute()


def configuration(asked: Shrink, origin: Origin) -> dict[str, Any]:
    """Return the configuration whose two runs are the dense network and the pruned one, as a file would hold it."""
    task: dict[str, Any] = {"kind": "classify", "data": "images", "batch_size": asked.batch_size}
    recipe = {
        "loop": "classify",
        "optimizer": "adamw",
        "lr": asked.lr,
        "weight_decay": 0.05,
        "batch_size": asked.batch_size,
        "transform": {"scale": [0.35, 1.0]},
    }
    method = {"uses": "structural", **{name: getattr(asked, name) for name in (*SAID, "batches")}}
    shared = {"tasks": ["pictures"], "models": ["network"]}
    return {
        "seeds": [asked.seed],
        "data": {"images": {"source": "folder_in_place", **_pictures(asked.data, origin.side)}},
        "tasks": {"pictures": task | ({} if origin.side else {"preprocess": "model"})},
        "models": {"network": {"builder": origin.model["builder"], **origin.model["options"]}},
        "methods": {"shrink": method},
        "recipes": {"dense": recipe | {"epochs": asked.dense_epochs}, "tune": recipe | {"epochs": asked.epochs}},
        "grid": {
            "isomorphic": [
                shared | {"methods": ["dense"], "recipe": "dense"},
                shared | {"methods": ["shrink"], "budgets": [asked.budget], "recipe": "tune"},
            ]
        },
    }


def _pictures(data: str, side: int | None) -> dict[str, Any]:
    """Return the options of the data source: all pictures of train are for training, unless there is a val set too."""
    from prunelib.data.sources.folder import SPLIT_FOLDERS

    place = Path(data).expanduser()
    if not place.is_dir():
        raise DataError(f"{data}: is no directory; it must hold class folders, or train/ and val/ with them.")
    parts = {SPLIT_FOLDERS.get(path.name.lower()) for path in place.iterdir() if path.is_dir()}
    shares = {} if {"val", "test"} <= parts else {"val_share": 0.0}
    sizes = {"side": side, "shorter": round(side * CROP)} if side else {}
    return {"location": str(place.resolve()), **sizes, **shares}


def _steps(asked: Shrink, origin: Origin, plan: Plan, device: str, seconds: float, say: Callable[[str], None]) -> None:
    """Do what is not done yet, in order; each step's last file is written when the step is whole."""
    from prunelib.data.prepare import prepare
    from prunelib.methods.isomorphic.run import prune_structure
    from prunelib.methods.isomorphic.statistics import gather_statistics
    from prunelib.models.published import obtain_weights

    published = plan.work / "published.safetensors"
    if origin.model["options"].get("weights") == str(published.absolute()) and not published.exists():
        say(f"fetching the published weights of {asked.model}")
        name = origin.model["options"]["name"]
        obtain_weights(origin.model["builder"], name, published, plan.work / "published.source.json")
    if not plan.data.exists():
        say("indexing the pictures")
        data = plan.grid.settings.named("data", "images")
        prepare({"source": data.name, "options": data.options, "seed": asked.seed}, plan.data)
    _train(plan, "dense", origin.start, device, seconds, say)
    dense, statistics = plan.file("dense", "weights.safetensors"), plan.work / "statistics.safetensors"
    settings = plan.settings("shrink")
    needed = asked.criterion in registry.entry("method", "structural").facts["statistics"]
    if needed and not statistics.exists():
        say(f"gathering gradients over {asked.batches} batches")
        gather_statistics(settings | {"batches": asked.batches}, plan.data, dense, statistics, device)
    if not plan.file("shrink", "pruned.json").exists():
        say(f"pruning to {asked.budget}")
        outputs = {"weights": plan.file("shrink", "pruned.safetensors"), "record": plan.file("shrink", "pruned.json")}
        prune_structure(settings, plan.data, dense, outputs, device, statistics if needed else None)
    _train(plan, "shrink", None, device, seconds, say)
    if not (plan.work / "costs.json").exists():
        say("measuring both networks")
        _measure(plan, device)


def _train(
    plan: Plan, method: str, start: Path | None, device: str, seconds: float, say: Callable[[str], None]
) -> None:
    """Train the dense or the pruned network and test it; 0 epochs test alone."""
    from prunelib.training.run import train_run

    if plan.file(method, "metrics.json").exists():
        return
    settings = plan.settings(method)
    epochs = settings["recipe"]["epochs"]
    what = "dense" if method == "dense" else "pruned"
    say(f"training the {what} network for {epochs} epochs" if epochs else f"testing the {what} network")
    files = {"weights": "weights.safetensors", "history": "history.h5", "metrics": "metrics.json"}
    train_run(
        settings,
        plan.data,
        {name: plan.file(method, file) for name, file in files.items()},
        mask=None,
        start=start,
        structure=plan.file(method, "pruned.safetensors") if method == "shrink" else None,
        checkpoints=plan.work / f"training-{method}",
        checkpoint_seconds=seconds,
        device=device,
    )


def _measure(plan: Plan, device: str) -> None:
    from prunelib.measure.network import measure_networks

    weights = [plan.file(method, "weights.safetensors") for method in ("dense", "shrink")]
    structures = [plan.file("shrink", "pruned.safetensors")]
    measure_networks(plan.settings("dense"), plan.data, weights, structures, plan.work / "costs.json", device)


def _publish(plan: Plan, folder: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the network and its record, write the report in two forms, the record last, and remove the work."""
    from prunelib.commands.shrink_report import report, text

    found = report(plan, request)
    (folder / FILES[-1]).unlink(missing_ok=True)
    for source, name in (("weights.safetensors", FILES[0]), ("pruned.json", FILES[1])):
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(plan.file("shrink", source), temporary)
    write_text(folder / FILES[2], text(found))
    write_json(folder / FILES[3], found)
    shutil.rmtree(plan.work, ignore_errors=True)
    return found
