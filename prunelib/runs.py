"""A run's identity and its path, and the grid: configuration -> runs -> parents (pure, fast, no torch)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from prunelib import registry
from prunelib.config import PARTS, STAGES, Block, Named, Settings
from prunelib.errors import ConfigError, nearest
from prunelib.recipes import LABEL

BUDGETS = {
    "full": "keeps everything",
    "density": "a fraction of the prunable weights, 0 < density <= 1",
    "degree": "edges per channel, an integer >= 1",
    "macs": "a fraction of the MACs, 0 < macs <= 1",
    "parameters": "a fraction of the parameters, 0 < parameters <= 1",
    "latency": "a fraction of the measured latency, 0 < latency <= 1",
    "gmacs": "MACs of one input in 10^9, 0 < gmacs",
    "ratio": "the share of channels to remove, as published, 0 < ratio < 1",
}
RUNS, ROUNDS = 1_000_000, 1000  # of one block, of one chain
_KINDS = "|".join(kind for kind in BUDGETS if kind != "full")
_BUDGET = re.compile(rf"(?P<kind>{_KINDS})(?P<value>[0-9]+(?:\.[0-9]+)?(?:e-[0-9]+)?)")


def _possible(kind: str, value: float) -> bool:
    if kind == "degree":
        return value >= 1 and value.is_integer()
    return value > 0 and (kind == "gmacs" or value < 1 or (value == 1 and kind != "ratio"))


@dataclass(frozen=True, order=True)
class Budget:
    """How much of a network a run may keep: a kind of ``BUDGETS`` and its value (None for "full")."""

    kind: str
    value: float | None = None

    @classmethod
    def parse(cls, label: str, where: str = "budget") -> Budget:
        """Read a label such as "full", "density0.05", "degree3" or "macs0.5"; anything else raises ConfigError."""
        if label == "full":
            return cls("full")
        match = _BUDGET.fullmatch(label)
        if match and _possible(match["kind"], float(match["value"])):
            return cls(match["kind"], float(match["value"]))
        kinds = [match["kind"]] if match else list(BUDGETS)
        allowed = "; ".join(f"{kind} ({BUDGETS[kind]})" for kind in kinds)
        raise ConfigError(f"{where}: '{label}' is no budget. Allowed: {allowed}.")

    @property
    def label(self) -> str:
        """The budget as it stands in a path: at most four significant digits."""
        return self.kind if self.value is None else f"{self.kind}{self.value:.4g}"


@dataclass(frozen=True, order=True)
class Run:
    """One (paper, task, model, method, budget, seed): everything that tells its directory from every other."""

    paper: str
    task: str
    model: str
    method: str
    budget: str
    seed: int

    @property
    def path(self) -> str:
        """Directory below results/runs/, for example oes/denoise-pepper/hourglass/gumbel/density0.05/seed0."""
        return f"{self.paper}/{self.task}/{self.model}/{self.method}/{self.budget}/seed{self.seed}"

    @classmethod
    def parse(cls, path: str) -> Run:
        """Read a run's path back; a path that no run can have raises ConfigError."""
        parts = path.strip("/").split("/")
        labels_fit = len(parts) == 6 and all(re.fullmatch(LABEL, part) for part in parts)
        if not labels_fit or parts[0] not in PARTS or not re.fullmatch(r"seed(0|[1-9][0-9]*)", parts[5]):
            raise ConfigError(f"'{path}' is no run. Allowed: <paper>/<task>/<model>/<method>/<budget>/seed<number>.")
        if Budget.parse(parts[4], path).label != parts[4]:
            raise ConfigError(f"'{path}': write the budget as {Budget.parse(parts[4]).label}.")
        return cls(*parts[:5], int(parts[5].removeprefix("seed")))


@dataclass(frozen=True)
class Planned:
    """What the grid knows of one run besides its name: its recipe and the run it starts from."""

    recipe: str
    parent: Run | None


@dataclass(frozen=True)
class Grid:
    """All runs of a configuration, with their parents; building it finds every impossible combination."""

    settings: Settings
    _plans: dict[Run, Planned] = field(default_factory=dict, repr=False)
    _methods: dict[str, Named] = field(default_factory=dict, repr=False)  # asked for each run

    def __post_init__(self) -> None:
        for paper, blocks in self.settings.grid.items():
            for index, block in enumerate(blocks):
                self._expand(paper, block, f"grid.{paper}.{index}")
        for run, plan in self._plans.items():
            for what, other in (("starts from", plan.parent), ("its teacher is", self.teacher(run))):
                if other is not None and other not in self._plans:
                    needs = f"{run.path}: {what} {other.path}, which no block of grid.{run.paper} makes"
                    raise ConfigError(f"{needs}; add it.")

    @cached_property
    def runs(self) -> list[Run]:
        """Every run, sorted."""
        return sorted(self._plans)

    def of(self, paper: str) -> list[Run]:
        """The runs of one paper, sorted."""
        return [run for run in self.runs if run.paper == paper]

    def parent(self, run: Run) -> Run | None:
        """The run whose weights or mask this one starts from, if any."""
        return self.plan(run).parent

    def teacher(self, run: Run) -> Run | None:
        """The run whose trained network teaches this one, if its recipe distils one of the grid's."""
        distill = getattr(self.settings.recipes[self.plan(run).recipe], "distill", None)
        if distill is None or distill.run is None:
            return None
        return Run(run.paper, run.task, distill.teacher, distill.run, "full", run.seed)

    def plan(self, run: Run) -> Planned:
        """What the grid knows of a run; a run that is not in the grid raises ConfigError naming the nearest."""
        if run not in self._plans:
            hint = nearest(run.path, [known.path for known in self._plans])
            raise ConfigError(f"{run.path}: not in the grid of this configuration.{hint}")
        return self._plans[run]

    def facts(self, run: Run) -> dict[str, Any]:
        """The registered facts of a run's method: stage, parent, start, budgets."""
        return self.method_entry(run.method).facts

    def method_entry(self, label: str) -> registry.Entry:
        """The registry's entry behind a method's label."""
        return registry.entry("method", self.method(label).name)

    def method(self, label: str) -> Named:
        """What a method's label stands for."""
        return self._methods.get(label) or self._methods.setdefault(label, self.settings.named("methods", label))

    def describe(self, run: Run) -> dict[str, Any]:
        """Return everything a step needs to know of a run, as plain types (see prunelib.workflow.steps)."""
        task = self.settings.named("tasks", run.task)
        model, method = self.settings.named("models", run.model), self.method(run.method)
        budget, recipe = Budget.parse(run.budget), self.plan(run).recipe
        return {
            "run": {name: getattr(run, name) for name in ("paper", "task", "model", "method", "budget", "seed")},
            "task": {"kind": task.name, "options": {key: v for key, v in task.options.items() if key != "data"}},
            "model": {"builder": model.name, "options": model.options},
            "method": {"uses": method.name, "options": method.options},
            "budget": {"kind": budget.kind, "value": budget.value},
            "recipe": self._recipe(recipe),
            "seed": run.seed,
            "scale": self.settings.scale,
        }

    def _recipe(self, label: str) -> dict[str, Any]:
        """Return a recipe as plain types, a teacher's label replaced by what it stands for."""
        recipe = self.settings.recipes[label].model_dump()
        if recipe.get("distill"):
            named = self.settings.named("models", recipe["distill"]["teacher"], f"recipes.{label}.distill.teacher")
            recipe["distill"]["teacher"] = {"builder": named.name, "options": named.options}
        return recipe

    def masked_from_start(self, run: Run) -> bool:
        """Whether a run has a mask though its budget keeps everything: the fact ``full_mask`` says with which options.

        An energy or a sensitivity alone decides what is kept, with any options; the first round of iterative pruning as
        OES's authors run it prunes norm biases already.
        """
        options, wanted = self.method(run.method).options, self.facts(run).get("full_mask")
        return wanted is not None and all(options[name] == value for name, value in wanted.items())

    def data(self, run: Run) -> str:
        """The label of the data set a run's task uses."""
        return self.settings.named("tasks", run.task).options["data"]

    def _expand(self, paper: str, block: Block, where: str) -> None:
        settings = self.settings
        if block.recipe not in settings.recipes:
            hint = nearest(block.recipe, settings.recipes)
            raise ConfigError(
                f"{where}.recipe: '{block.recipe}' is not in recipes.{hint} Allowed: {', '.join(settings.recipes)}."
            )
        for task, model in product(block.tasks, block.models):
            self._check_fit(task, model, block.recipe, where)
        kinds = {Budget.parse(label, f"{where}.budgets").kind for label in block.budgets}
        for method, kind in product(block.methods, sorted(kinds)):
            self._check_method(paper, method, kind, where)
        seeds = block.seeds or settings.seeds
        count = math.prod(map(len, (block.tasks, block.models, block.methods, block.budgets, seeds)))
        if count > RUNS:
            raise ConfigError(f"{where}: stands for {count:,} runs; a block has at most {RUNS:,}.")
        for labels in product(block.tasks, block.models, block.methods, block.budgets, seeds):
            self._add(Run(paper, *labels), block.recipe, seeds, where)

    def _add(self, run: Run, recipe: str, seeds: list[int], where: str) -> None:
        """Add a run and, for a method that prunes in rounds, the chain of looser budgets it comes from."""
        budget = Budget.parse(run.budget, f"{where}.budgets")
        entry = self.method_entry(run.method)
        allowed = entry.facts.get("budgets", ("full",))
        if budget.kind not in allowed:
            raise ConfigError(
                f"{where}.budgets: '{run.budget}' does not fit method '{run.method}'. Allowed: {', '.join(allowed)}."
            )
        run = Run(run.paper, run.task, run.model, run.method, budget.label, run.seed)
        if entry.facts.get("parent", "none") == "previous" and budget.kind == "density":
            self._add_chain(run, self._densities(run, budget, where), recipe)
        else:
            self._plan(run, Planned(recipe, self._single_parent(run, entry, seeds)))

    def _densities(self, run: Run, budget: Budget, where: str) -> list[float]:
        """Return the densities of a chain, 1 first: equal ratios to the budget, or what cuts of a given share leave."""
        assert budget.value is not None
        options = self.method(run.method).options
        rounds, cut = options["rounds"], options.get("cut")
        if rounds > ROUNDS:
            raise ConfigError(f"methods.{run.method}.rounds: got {rounds:,}; a chain has at most {ROUNDS:,} runs.")
        if cut is None:
            return [1.0] + [budget.value ** (k / rounds) for k in range(1, rounds)] + [budget.value]
        densities = [(1 - cut) ** k for k in range(rounds + 1)]
        last = Budget("density", densities[-1]).label
        if last != run.budget:
            raise ConfigError(
                f"{where}.budgets: '{run.budget}' is not what method '{run.method}' ends with: {rounds} cuts of "
                f"{cut:.4g} leave {densities[-1]:.4g}. Allowed: {last}."
            )
        return densities

    def _add_chain(self, run: Run, densities: list[float], recipe: str) -> None:
        parent = None
        for density in densities:
            label = "full" if density == 1.0 else Budget("density", density).label
            member = Run(run.paper, run.task, run.model, run.method, label, run.seed)
            self._plan(member, Planned(recipe, parent))
            parent = member

    def _single_parent(self, run: Run, entry: registry.Entry, seeds: list[int]) -> Run | None:
        """The one run a run starts from. A transferred mask comes from another seed, for other initial weights."""
        kind, options = entry.facts.get("parent", "none"), self.method(run.method).options
        if kind == "dense":
            return Run(run.paper, run.task, run.model, "dense", "full", run.seed)
        if kind == "of":
            self.settings.named("methods", options["of"], f"methods.{run.method}.of")
            return Run(run.paper, run.task, run.model, options["of"], run.budget, run.seed)
        if kind == "source":
            self.settings.named("methods", options["of"], f"methods.{run.method}.of")
            self.settings.named("tasks", options["from_task"], f"methods.{run.method}.from_task")
            seed = seeds[(seeds.index(run.seed) + 1) % len(seeds)]
            return Run(run.paper, options["from_task"], run.model, options["of"], run.budget, seed)
        return None

    def _plan(self, run: Run, plan: Planned) -> None:
        if self._plans.setdefault(run, plan) != plan:
            what = f"{run.path}: planned twice with different recipes or parents ({plan.recipe})"
            raise ConfigError(f"{what}; give one method a label of its own.")

    def _check_method(self, paper: str, method: str, budget: str, where: str) -> None:
        """Refuse a method that a part has no jobs for, and options that contradict each other or the budget's kind."""
        named = self.settings.named("methods", method, f"{where}.methods")
        if (stage := registry.entry("method", named.name).facts.get("stage", "none")) not in STAGES[paper]:
            allowed = ", ".join(STAGES[paper])
            raise ConfigError(f"{where}.methods: '{method}' is of stage {stage}. Allowed in {paper}: {allowed}.")
        rule = registry.entries("option_rule").get(named.name)
        problem = rule.load()({**named.options, "budget": budget}) if rule else None
        if problem:
            raise ConfigError(f"methods.{method}: {problem}")

    def _check_fit(self, task: str, model: str, recipe: str, where: str) -> None:
        """Refuse a model or a recipe that can't serve the task."""
        settings = self.settings
        named = settings.named("tasks", task, f"{where}.tasks")
        kind, data = named.name, named.options["data"]
        built = settings.named("models", model, f"{where}.models")
        needed, given = registry.entry("task", kind).facts["loop"], settings.recipes[recipe].loop
        if given != needed:
            raise ConfigError(f"{where}.recipe: '{recipe}' runs the loop {given}; task '{task}' needs {needed}.")
        classifies = "classes" in registry.entry("model", built.name).arguments
        if classifies != (needed == "classify"):
            what = "a classifier" if classifies else "a generator"
            raise ConfigError(f"{where}.models: '{model}' is {what}; task '{task}' is {kind}.")
        settings.named("data", data, f"tasks.{task}.data")
        self._recipe(recipe)
