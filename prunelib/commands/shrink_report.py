"""What became of a shrunk network: plain types for programs, a page of text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prunelib.storage.files import read_json

if TYPE_CHECKING:
    from prunelib.commands.shrinking import Plan

ROWS = (  # what is compared: its name, the key, how it is divided and printed
    ("MACs of one picture (G)", "macs", 1e9, "{:.4g}"),
    ("parameters (M)", "parameters", 1e6, "{:.4g}"),
    ("weights on disk (MiB)", "file_mb", 1, "{:.2f}"),
    ("memory of one picture (MiB)", "forward_mb_batch1", 1, "{:.1f}"),
    ("CPU time, 1 picture (ms)", "cpu_batch1_ms", 1, "{:.2f}"),
    ("CPU time, 16 pictures (ms)", "cpu_batch16_ms", 1, "{:.2f}"),
    ("top-1 (%)", "top1", 0.01, "{:.2f}"),
    ("top-1 before fine-tuning (%)", "top1_start", 0.01, "{:.2f}"),
)
UNSURE = 1.5  # times the accuracy of guessing: a dense network below this has not learnt the pictures


def report(plan: Plan, request: Mapping[str, Any]) -> dict[str, Any]:
    """Gather what the steps have found: both networks' costs and accuracy, the pruning, the provenance."""
    record = read_json(plan.file("shrink", "pruned.json"))
    costs = read_json(plan.work / "costs.json")
    runs = {name: read_json(plan.file(name, "metrics.json")) for name in ("dense", "shrink")}
    networks = {}
    for name, label in (("dense", "dense"), ("shrink", "pruned")):
        found = costs["runs"][plan.run(name).path]
        metrics = {key: runs[name]["metrics"].get(key) for key in ("top1", "top5", "loss", "top1_start")}
        networks[label] = {**found["size"], **found["timing"], **metrics, "training_s": runs[name]["timing"]["wall_s"]}
    return {
        "request": dict(request),
        "network": record["model"],
        "classes": record["facts"]["classes"],
        "input": record["input"],
        **networks,
        "pruning": record["pruning"],
        "threads": costs["threads"],
        "provenance": runs["shrink"]["provenance"],
    }


def text(found: Mapping[str, Any]) -> str:
    """Return the report as a page of plain text."""
    asked, pruning = found["request"]["shrink"], found["pruning"]
    lines = [
        f"{asked['model']} on {asked['data']}: {found['classes']} classes, pictures of {_size(found['input'])}",
        f"Asked for {pruning['budget']} {pruning['requested']:g}, reached {pruning['realised']:.4g}; mode "
        f"{pruning['mode']}, criterion {pruning['criterion']}; {asked['epochs']} epochs of fine-tuning.",
        "",
        f"{'':32}{'dense':>12}{'pruned':>12}{'share':>9}",
        *_comparison(found["dense"], found["pruned"]),
        *(f"\nNote: {note}" for note in notes(found)),
        "",
        f"{'widths of coupled channels':58}{'set':>5}{'before':>8}{'after':>8}",
        *(f"{row['name'][-57:]:58}{row['set']:>5}{row['before']:>8}{row['after']:>8}" for row in pruning["groups"]),
        *(f"{row['name'][-57:]:58}{'-':>5}{row['channels']:>8}{'kept':>8}  {row['why']}" for row in pruning["fixed"]),
        "",
        "Use it: import prunelib; model = prunelib.load('model.safetensors')",
    ]
    return "\n".join(lines) + "\n"


def notes(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a user should know before relying on the network."""
    dense, pruned, asked = found["dense"], found["pruned"], found["request"]["shrink"]
    if not found["pruning"]["met"]:
        yield "the widths are too coarse to meet the budget; a smaller --round-to comes closer."
    if dense["top1"] is not None and dense["top1"] < UNSURE / found["classes"]:
        yield "the dense network hardly knows these pictures; train it first (--dense-epochs) or give other --weights."
    elif asked["epochs"] == 0 and pruned["top1"] is not None and pruned["top1"] < dense["top1"] - 0.01:
        yield "pruning has cost accuracy that fine-tuning gives back; add --epochs."


def _comparison(dense: Mapping[str, Any], pruned: Mapping[str, Any]) -> Iterator[str]:
    for name, key, unit, form in ROWS:
        values = [row.get(key) for row in (dense, pruned)]
        if values[1] is None:
            continue
        shown = ["-" if value is None else form.format(value / unit) for value in values]
        share = f"{values[1] / values[0]:.3f}" if values[0] and not key.startswith("top1") else ""
        yield f"{name:32}{shown[0]:>12}{shown[1]:>12}{share:>9}"


def _size(shape: list[int]) -> str:
    return f"{shape[2]} x {shape[1]} pixels"
