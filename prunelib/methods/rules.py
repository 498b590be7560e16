"""Which options of a method contradict each other: known before any job starts, without torch.

A rule takes the checked options and, as "budget", the kind of budget, and returns what is wrong in a sentence, or
None; the grid and the method ask it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunelib.registry import register


def upstream(options: Mapping[str, Any]) -> str | None:
    """Refuse what the authors' baselines do not have: a choice of parameters, and a repair of dead masks."""
    if options["fidelity"] != "upstream":
        return None
    if options["prune"] == "weights":
        return "fidelity 'upstream' prunes all parameters, 'prune' says weights. Leave prune out or say all."
    if options["repair"] != "none":
        return f"fidelity 'upstream' keeps a dead mask as it is, 'repair' says {options['repair']}. Leave repair out."
    return None


@register("option_rule", "erk")
@register("option_rule", "phew")
def degree(options: Mapping[str, Any]) -> str | None:
    """Refuse what a degree does not go with, and a dense first layer without a degree, where all layers are ranked."""
    if options["budget"] == "degree":
        if options.get("fidelity") == "upstream":
            return "a degree counts as the expanders do, fidelity 'upstream' as OES's authors. Allowed: corrected."
        if options.get("prune") == "all":
            return "a degree keeps weights of convolutions and linear layers, 'prune' says all. Leave prune out."
    elif options["dense_first"]:
        return "dense_first is for degrees; a density is ranked over all layers. Leave dense_first out."
    return None


@register("option_rule", "random")
@register("option_rule", "grasp")
def ranking(options: Mapping[str, Any]) -> str | None:
    """Refuse what a degree or the authors' baselines do not have."""
    return degree(options) or upstream(options)


@register("option_rule", "snip")
def snip(options: Mapping[str, Any]) -> str | None:
    """Refuse several rounds too: the authors' code scores once."""
    if options["fidelity"] == "upstream" and options["rounds"] > 1:
        return f"fidelity 'upstream' scores once, 'rounds' says {options['rounds']}. Leave rounds out."
    return ranking(options)


@register("option_rule", "magnitude")
def magnitude(options: Mapping[str, Any]) -> str | None:
    """Refuse a local magnitude too, which the authors' code does not have."""
    if options["fidelity"] == "upstream" and options["scope"] == "local":
        return "fidelity 'upstream' ranks magnitudes over the whole network only. Allowed: scope global."
    return ranking(options)


@register("option_rule", "synflow")
def synflow(options: Mapping[str, Any]) -> str | None:
    """Refuse rounds too: the authors' code scores once."""
    if options["fidelity"] == "upstream" and options["rounds"] is not None:
        return f"fidelity 'upstream' scores once, 'rounds' says {options['rounds']}. Leave rounds out."
    return ranking(options)


@register("option_rule", "structural")
def structural(options: Mapping[str, Any]) -> str | None:
    """Refuse a batch to time where nothing is timed, and the removal of blocks where nothing tells them apart."""
    if options["latency_batch"] is not None and options["budget"] != "latency":
        return f"latency_batch is for latency budgets, not {options['budget']}. Leave latency_batch out."
    if options["remove_blocks"] and options["criterion"] == "random":
        return (
            "remove_blocks: criterion random has no scores of blocks. Allowed with remove_blocks: any other criterion."
        )
    return None


@register("option_rule", "trained_sensitivity")
def trained_sensitivity(options: Mapping[str, Any]) -> str | None:
    """Ask for either a sensitivity or a density: one follows from the other."""
    if options["budget"] == "full" and options["sensitivity"] is None:
        return "with the budget full, sensitivity decides what is kept. Set it (0.25 to 2 are published)."
    if options["budget"] == "density" and options["sensitivity"] is not None:
        return "a density sets the sensitivity by itself. Leave sensitivity out, or take the budget full."
    return None


@register("option_rule", "imp")
def imp(options: Mapping[str, Any]) -> str | None:
    """Refuse a cut of everything, and the authors' schedule without the share that each of its rounds cuts."""
    if options["cut"] == 1:
        return "a cut of 1 leaves nothing. Allowed: 0 < cut < 1."
    if options["fidelity"] == "upstream" and options["cut"] is None:
        return "fidelity 'upstream' cuts the same share of what is left in each round. Set cut (published: 0.2)."
    return upstream(options)
