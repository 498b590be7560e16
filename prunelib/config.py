"""Typed experiment settings: config.yaml checked key by key before any job starts, without importing torch.

Every label in ``data``, ``models``, ``methods`` and ``tasks`` names a registered thing and sets some of its options;
``recipes`` say how to train; ``grid`` crosses labels into runs. A label that is not defined but is a registered name
stands for that thing with its default options. What can't be is an error that names the key's path, the value and what
is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BeforeValidator, Field, PrivateAttr, TypeAdapter, ValidationError

from prunelib import options as option_types
from prunelib import registry
from prunelib.errors import ConfigError, brief, nearest
from prunelib.expand import expanded
from prunelib.options import Count, Fraction, Natural, Positive
from prunelib.recipes import ClassifyRecipe, Distill, FitRecipe, Label, Mix, Recipe, Strict, Transform

Section = Literal["data", "models", "methods", "tasks"]
# Bytes and values of a configuration file. The papers' whole grids take 31 000 and 2900; with a block for every run of
# them, as a program may write it, 730 000 and 92 000. So many are read in seconds.
LONGEST, VALUES = 2**20, 2**17
ODD = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
)  # PyYAML's, for dates and numbers that are none
Job = Literal["mask", "graph", "prune", "train", "search", "compress", "slim", "diagnose"]
# The parts of the grid, and the methods each has jobs for: by when they find what stays ("none" keeps everything).
STAGES = {
    "oes": ("none", "mask"),
    "expanders": ("none", "mask"),
    "isomorphic": ("none", "structure"),
    "ising": ("none", "mask", "training", "compress"),
    "crossover": ("none", "mask"),
}
PARTS = tuple(STAGES)


class Block(Strict):
    """One block of a paper's grid: the cross product of its lists, trained by one recipe."""

    tasks: Annotated[list[Label], Field(min_length=1)]
    models: Annotated[list[Label], Field(min_length=1)]
    methods: Annotated[list[Label], Field(min_length=1)]
    budgets: Annotated[list[str], Field(min_length=1)] = Field(["full"])
    recipe: Label
    seeds: Annotated[list[Natural], Field(min_length=1)] | None = None


# `--config name=true` on Snakemake's command line gives the word.
Flag = Annotated[bool, BeforeValidator(lambda given: {"true": True, "false": False}.get(given, given))]


# One number stands for all kinds of jobs.
PerJob = Annotated[
    dict[Job, Count],
    BeforeValidator(lambda given: dict.fromkeys(get_args(Job), given) if isinstance(given, int) else given),
]


class Pictures(Strict):
    """How to clean the user's own pictures: the options of ``python -m prunelib denoise`` and ``snakemake denoise``."""

    scale: Literal["quick", "full"] = "quick"  # how many steps
    density: Fraction = 0.05
    sigma: Fraction | None = None  # None: estimated from each picture
    search_steps: Count | None = None  # None: those of the scale
    steps: Count | None = None  # None: those of the scale
    seed: Natural = 0
    pick: Literal["auto", "final", "stop", "average"] = "auto"
    channels: Annotated[list[Count], Field(min_length=1)] | None = None  # None: as many levels as the picture allows


class Named(Strict):
    """A checked label: the registered name it stands for and every option, defaults filled in."""

    name: str
    options: dict[str, Any]


class Settings(Strict):
    """The whole configuration."""

    scale: Label = "quick"
    mode: Literal["real", "stub"] = "real"
    partial: Flag = False  # report whatever runs there are, below results/partial, and make none
    device: Literal["auto", "cpu", "cuda"] = "auto"
    deterministic: Flag = False  # only kernels that give the same bits every time, an error where torch has none
    threads: Count = 1
    processes: Count = 1  # of one training whose recipe has a micro_batch; each takes a GPU where there are any
    checkpoint_seconds: Positive = 60.0
    container: str | None = None  # image of every job for --sdm apptainer: a .sif file or docker://...
    batch: PerJob = Field({})  # how many short runs share a job, of every kind or of some kinds; else 1
    seeds: Annotated[list[Natural], Field(min_length=1)] = Field([0, 1])
    data: dict[Label, dict[str, Any]] = Field({})
    models: dict[Label, dict[str, Any]] = Field({})
    methods: dict[Label, dict[str, Any]] = Field({})
    tasks: dict[Label, dict[str, Any]]
    recipes: dict[Label, Recipe]
    denoise: Pictures = Pictures()
    grid: dict[Literal["oes", "expanders", "isomorphic", "ising", "crossover"], list[Block]]

    _named: dict[tuple[str, str], Named] = PrivateAttr(default_factory=dict)  # a grid asks for each often

    def batched(self, kind: str) -> int:
        """How many runs a job of a kind has at most."""
        return self.batch.get(kind, 1)

    def named(self, section: Section, label: str, where: str = "") -> Named:
        """Return what a label stands for; an unknown label or option raises ConfigError naming its path."""
        if (section, label) not in self._named:
            self._named[section, label] = self._check(section, label, where)
        return self._named[section, label]

    def _check(self, section: Section, label: str, where: str) -> Named:
        kind, key = SECTIONS[section]
        known = getattr(self, section)
        if label not in known:
            if section != "tasks" and label in registry.entries(kind):
                return Named(name=label, options=checked_options(kind, label, {}, f"{section}.{label}"))
            allowed = sorted({*known, *(registry.names(kind) if section != "tasks" else [])})
            place = where or section
            raise ConfigError(
                f"{place}: '{label}' is not in {section}.{nearest(label, allowed)} Allowed: {', '.join(allowed)}."
            )
        given = dict(known[label])
        name = given.pop(key, None)
        if not isinstance(name, str):
            names = ", ".join(registry.names(kind))
            raise ConfigError(f"{section}.{label}: needs '{key}', the {kind} it stands for. Allowed: {names}.")
        registry.entry(kind, name, f"{section}.{label}.{key}")
        reserved = {"data": given.pop("data", None)} if section == "tasks" else {}
        if section == "tasks" and not isinstance(reserved["data"], str):
            raise ConfigError(
                f"tasks.{label}: needs 'data', the label of its data set. Allowed: {', '.join(self.data)}."
            )
        checked = checked_options(kind, name, given, f"{section}.{label}")
        return Named(name=name, options=checked | {key: value for key, value in reserved.items() if value})


SECTIONS: dict[Section, tuple[str, str]] = {
    "data": ("data", "source"),
    "models": ("model", "builder"),
    "methods": ("method", "uses"),
    "tasks": ("task", "kind"),
}


def read(file: str | Path) -> dict[str, Any]:
    """Read a configuration file; raises ConfigError, naming file and line, when it is missing or no YAML mapping."""
    try:
        if Path(file).stat().st_size > LONGEST:
            raise ConfigError(f"{file}: has over {LONGEST:,} bytes; write lists with 'each' and patterns instead.")
        raw = _Bounded(Path(file).read_text(encoding="utf-8")).get_single_data()
    except (OSError, yaml.YAMLError, *ODD) as error:
        raise ConfigError(f"{file}: can't be read as YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{file}: holds {type(raw).__name__}; a configuration is a mapping of keys.")
    return raw


class _Bounded(yaml.SafeLoader):
    """Reads plain values, as yaml.safe_load does, but up to VALUES of them; ValueError when there are more."""

    values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Count a value, or a key."""
        self.values += 1
        if self.values > VALUES:
            raise ValueError(f"it has over {VALUES:,} values; write lists with 'each' and patterns instead")
        return super().compose_node(parent, index)


def load(raw: Mapping[str, Any]) -> Settings:
    """Check a raw configuration (as read from YAML) and return it typed; the first fault raises ConfigError."""
    raw = expanded(raw)
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_explain(error, raw)) from None
    for section in SECTIONS:
        for label in getattr(settings, section):
            settings.named(section, label)
    return settings


def checked_options(kind: str, name: str, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check the options of one registered thing against its signature and fill in its defaults."""
    known = registry.entry(kind, name, where).options
    for key in given:
        if key not in known:
            allowed = ", ".join(sorted(known)) or "none"
            raise ConfigError(
                f"{where}.{key}: unknown option of {kind} '{name}'.{nearest(key, known)} Allowed: {allowed}."
            )
    missing = [key for key, option in known.items() if option.required and key not in given]
    if missing:
        raise ConfigError(f"{where}: {kind} '{name}' needs {', '.join(missing)}.")
    values = {key: option.default for key, option in known.items()} | dict(given)
    for key, value in values.items():
        if isinstance(value, str) and registry.entries(key):  # an option named like a kind names one of that kind
            registry.entry(key, value, f"{where}.{key}")
    return {key: _checked(values[key], known[key].annotation, f"{where}.{key}") for key in known}


def _checked(value: Any, annotation: str, where: str) -> Any:
    adapter = TypeAdapter(eval(annotation, vars(option_types)))  # our own source, read by the registry
    try:
        return adapter.validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{where}: got {brief(value)}. {first['msg']}; it must be {annotation}.") from None


def _explain(error: ValidationError, raw: Mapping[str, Any]) -> str:
    """Turn pydantic's first fault into one paragraph: path, value, what is allowed, nearest key."""
    faults = error.errors()
    first = faults[0]
    path = [part for part in first["loc"] if part not in ("fit_image", "classify", "[key]")]
    where = ".".join(map(str, path))
    more = f" ({len(faults) - 1} more after this one.)" if len(faults) > 1 else ""
    if first["type"] == "extra_forbidden":
        allowed = _keys_beside(path, raw)
        hint = nearest(str(path[-1]) if path else "", allowed)
        return f"{where}: unknown key.{hint} Allowed: {', '.join(sorted(allowed))}.{more}"
    if first["type"] == "missing":
        return f"{where}: missing; it has no default.{more}"
    return f"{where}: got {brief(first['input'])}. {first['msg']}.{more}"


def _keys_beside(path: list[Any], raw: Mapping[str, Any]) -> list[str]:
    """Return the keys allowed where an unknown one stands."""
    if path[:1] == ["recipes"] and len(path) > 2:
        loop = raw["recipes"][path[1]].get("loop")
        parts = {"transform": Transform, "mix": Mix, "distill": Distill}
        whole = FitRecipe if loop == "fit_image" else ClassifyRecipe
        return list((parts[path[2]] if len(path) > 3 and path[2] in parts else whole).model_fields)
    return list({"grid": Block, "denoise": Pictures}.get(str(path[0]) if path else "", Settings).model_fields)
