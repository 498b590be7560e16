"""How labels and metrics are written for a reader: names, units, decimals, colours. The one home of display words."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

MINUS, DASH, TIMES = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Metric:
    """One column of metrics.json as a reader sees it: shown = factor * value, with a fixed number of decimals."""

    name: str
    label: str
    meaning: str
    unit: str = ""
    decimals: int = 2
    factor: float = 1.0

    @property
    def heading(self) -> str:
        """The column's heading with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def difference_unit(self) -> str:
        """The unit of a difference of two values: percentages differ by points."""
        return "points" if self.unit == "%" else self.unit


def _percent(name: str, label: str, meaning: str, decimals: int = 1) -> Metric:
    return Metric(name, label, meaning, "%", decimals, 100.0)


def _count(name: str, label: str, meaning: str) -> Metric:
    return Metric(name, label, meaning, "", 0)


# In the order in which they become columns; a metric that is not listed follows in alphabetical order.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("psnr_peak", "Peak PSNR", "best PSNR along the run; knowing when to stop needs the clean image", "dB"),
        Metric("psnr_final", "Final PSNR", "PSNR against the clean image at the last logged step", "dB"),
        Metric("psnr_last10", "PSNR, last 10", "median PSNR of the last ten logged steps", "dB"),
        Metric("psnr_gap", "Overfitting gap", "peak PSNR minus final PSNR; 0 = nothing lost by training on", "dB"),
        _count("step_peak", "Peak at step", "the step of the peak"),
        Metric("psnr_stop", "PSNR, stopped", "PSNR where the stopping rule ends, which needs no clean image", "dB"),
        _count("step_stop", "Stopped at step", "the step at which the stopping rule ends"),
        Metric("psnr_discrepancy", "PSNR, discrepancy", "PSNR when the loss first reaches the noise's variance", "dB"),
        _count("step_discrepancy", "Discrepancy at step", "the step at which it does"),
        Metric("psnr_average", "PSNR, averaged", "PSNR of the mean of the pictures sampled along the run", "dB"),
        Metric("sigma", "Noise", "standard deviation of the noise, of the pixels' range", "", 3),
        Metric("psnr_noisy", "Noisy PSNR", "PSNR of the noisy input image itself", "dB"),
        Metric("psnr_vs_noisy", "PSNR to noisy", "PSNR of the output to the noisy image; high = noise fitted", "dB"),
        Metric("ssim_final", "Final SSIM", "structural similarity to the clean image at the end, 0 to 1", "", 3),
        _percent("top1_start", "Top-1 before", "test top-1 accuracy before (fine-)tuning"),
        _percent("top1", "Top-1", "test accuracy of the first guess"),
        _percent("top3", "Top-3", "test accuracy of the first three guesses"),
        _percent("top5", "Top-5", "test accuracy of the first five guesses"),
        Metric("loss", "Loss", "mean cross-entropy on the test images", "", 3),
        _percent("val_top1", "Validation top-1", "accuracy on held-out training images"),
        Metric("val_loss", "Validation loss", "cross-entropy on held-out training images", "", 3),
        _percent("density", "Density", "kept share of the prunable weights"),
        _percent("density_all", "Density, all", "kept share of all parameters, biases and norms included"),
        _percent("density_compact", "After compaction", "parameters after dead channels are cut out, against dense"),
        _percent("density_nonzero", "Non-zero", "share of convolution and linear weights that are not zero"),
        _percent("units", "Units", "share of the gated units that are open"),
        _percent("density_upstream", "R", "kept share as the ising papers count it, inputs of shut filters included"),
        _count("kept", "Kept weights", "kept prunable weights"),
        _count("prunable", "Prunable weights", "weights that the method may remove"),
        _count("parameters", "Parameters", "parameters of the dense network"),
        _count("parameters_kept", "Parameters kept", "parameters outside the mask"),
        _count("parameters_compact", "Parameters, compact", "parameters of the physically smaller network"),
        Metric("macs", "MMACs", "million multiply-accumulates for one input, dense (1 MAC = 2 FLOPs)", "", 2, 1e-6),
        Metric("macs_kept", "MMACs, kept", "million multiply-accumulates if pruned weights cost nothing", "", 2, 1e-6),
        Metric("macs_compact", "MMACs, compact", "million multiply-accumulates of the smaller network", "", 2, 1e-6),
        _count("parameters_slim", "Parameters, slimmed", "parameters of the slimmed network as it was saved"),
        Metric("macs_slim", "MMACs, slimmed", "million multiply-accumulates of the slimmed network", "", 2, 1e-6),
        Metric("macs_torch_pruning", "MMACs, torch-pruning", "by the papers' counter: norms, biases too", "", 2, 1e-6),
        _percent("top1_shared", "Top-1, shared", "test accuracy with shared weights, before those train"),
        Metric("loss_start", "Loss before", "test loss of the pruned network, before its weights are shared", "", 3),
        Metric("loss_shared", "Loss, shared", "test loss with shared weights, before those train", "", 3),
        Metric("bytes_dense", "Dense", "all values as they are, 4 bytes each", "MiB", 3, 2**-20),
        Metric("bytes_sparse", "Sparse arrays", "non-zero weights and their indices, 4 bytes each", "MiB", 3, 2**-20),
        Metric("bytes_shared", "Shared", "shared values, codes and gaps of fixed lengths", "MiB", 3, 2**-20),
        Metric("bytes_compressed", "Compressed", "the Huffman-coded file", "MiB", 3, 2**-20),
        Metric("ratio_dense", "Ratio, dense", "dense values to the compressed file"),
        Metric("ratio_sparse", "Ratio, sparse", "sparse arrays to the compressed file"),
        Metric("bits_weight", "Bits per weight", "Huffman-coded bits for each kept weight, its place included"),
        Metric("bits_bound", "Bits, bound", "the entropy of the same symbols"),
        Metric("file_mb", "File", "size of the stored weights", "MiB", 3),
        Metric("forward_mb_batch1", "Memory, 1", "most memory that weights and activations of one input take", "MiB"),
        Metric("forward_mb_batch16", "Memory, 16", "the same of a batch of 16", "MiB"),
        Metric("search_threshold", "Threshold", "the lowest logit that the mask keeps", "", 3),
        Metric("search_mean_logit", "Mean logit", "mean of all logits after the search", "", 3),
        Metric("search_psnr_det", "PSNR, untrained", "of the picture the masked network draws before training", "dB"),
        Metric("search_loss_det", "Loss, mask", "loss of the masked, untrained network", "", 4),
        Metric("search_loss_single", "Loss, one sample", "the same under the mask times one soft sample", "", 4),
        Metric("search_loss_multiple", "Loss, ten samples", "the same under the mask times ten soft samples", "", 4),
        _count("graph_edges", "Edges", "kernels (pairs of channels) with a kept weight"),
        Metric("graph_sigma2_bound", "σ2 / bound", "second singular value against the Ramanujan bound, mean of layers"),
        Metric("graph_sigma2_sigma1", "σ2 / σ1", "second against first singular value, mean of layers"),
        Metric("graph_gap", "Spectral gap", "the least of the layers"),
        Metric("graph_mixing", "Mixing", "σ2 / σ1 of the path counts from the image to the last layer", "", 3),
        _percent("graph_ramanujan", "Ramanujan", "share of the sparse layers with σ2 below the bound", 0),
        Metric("graph_expansion", "Expansion", "sampled |N(S)| / |S|, mean of layers"),
        Metric("graph_worst_in", "Worst, inputs", "least |N(S)| / |S| found for sets of inputs"),
        Metric("graph_worst_out", "Worst, outputs", "least |N(S)| / |S| found for sets of outputs"),
        _count("graph_components", "Components", "connected components, the most of a layer"),
        _count("graph_isolated_in", "Idle inputs", "inputs without an edge, in all layers"),
        _count("graph_isolated_out", "Idle outputs", "outputs without an edge, in all layers"),
        _percent("graph_reached_out", "Reached", "outputs that a path from the image reaches, the least of a layer", 0),
        _percent("graph_useful_out", "Useful", "outputs from which a path reaches the end, the least of a layer", 0),
        _percent("graph_effective_share", "Effective", "kept weights on a path from the image to the output"),
        Metric("graph_log10_paths", "Paths", "log10 of the paths from the image to the last layer", "", 1),
    )
}

# Other states on the weights that an energy's search has trained, as prunelib.methods.ising.controls measures them.
CONTROLS = {
    "full": "all units open",
    "random": "a random state that keeps as much",
    "random25": "a random quarter of the units shut",
    "random50": "a random half of the units shut",
    "random75": "three random quarters of the units shut",
}


def _under(control: str, name: str) -> Metric:
    """Return how a metric of one control is shown: as that of the run itself, with the control's name."""
    own = METRICS[name]
    meaning = f"{own.meaning}; {CONTROLS[control]}"
    return replace(own, name=f"{name}_{control}", label=f"{own.label}, {control}", meaning=meaning)


_SCORES, _COUNTS = ("top1", "top3", "top5", "loss"), ("density", "density_upstream")
_ROWS = {control: _SCORES if control == "full" else _SCORES + _COUNTS for control in CONTROLS}
METRICS |= {f"{name}_{control}": _under(control, name) for control, names in _ROWS.items() for name in names}

METHODS: dict[str, str] = {
    "dense": "Dense",
    "sgld": "SGLD",
    "gumbel": "OES",
    "imp": "IMP",
    "magnitude": "Magnitude",
    "trained-magnitude": "Magnitude (trained)",
    "random": "Random",
    "erk": "ERK",
    "snip": "SNIP",
    "grasp": "GraSP",
    "synflow": "SynFlow",
    "phew": "PHEW",
    "rreg": "RReg",
    "xnet": "XNet",
    "random-graph": "Random graph",
    "isomorphic": "Isomorphic",
    "global": "Global",
    "local": "Local",
    "uniform": "Uniform",
    "ising": "Ising energy",
    "margin": "Margin energy",
    "gates": "Gates",
    "deep-compression": "Deep Compression",
}

# The variants in a label, after its method's name; in this order where there are several.
VARIANTS = {
    "weights": "weights",
    "all": "all",
    "local": "per layer",
    "repaired": "repaired",
    "upstream": "authors' code",
    "iterative": "in rounds",
    "leaky": "leaky",
    "shared": "shared graphs",
    "80k": "80\N{NARROW NO-BREAK SPACE}000 steps",
    "80": "cuts of 80 %",
}

SOURCE = "-from-"  # in the label of a method that takes its mask from another task's run

# Okabe-Ito hues as in seaborn's "colorblind" palette; a method's colour is the same in every figure and on the page.
COLOURS: dict[str, str] = {
    "dense": "#4d4d4d",
    "decoder": "#cc78bc",
    "gumbel": "#0173b2",
    "sgld": "#d55e00",
    "imp": "#de8f05",
    SOURCE: "#029e73",
    "rreg": "#0173b2",
    "xnet": "#de8f05",
    "isomorphic": "#0173b2",
    "global": "#de8f05",
    "local": "#029e73",
    "ising": "#0173b2",
    "margin": "#de8f05",
    "gates": "#cc78bc",
    "magnitude": "#029e73",
    "trained-magnitude": "#029e73",
    "random": "#029e73",
    "random-graph": "#029e73",
}
SPARE_COLOURS = ("#d55e00", "#cc78bc", "#ca9161", "#56b4e9", "#949494", "#a39b00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def metric(name: str) -> Metric:
    """Return how a metric is shown; one that is not listed is shown under its own name."""
    return METRICS.get(name) or Metric(name, name.replace("_", " "), "", "", 4)


def metric_order(names: set[str]) -> list[str]:
    """Return metric names in column order: the listed ones first, then the others alphabetically."""
    return [name for name in METRICS if name in names] + sorted(names - METRICS.keys())


def method_order(label: str) -> tuple[int, str]:
    """Return a sort key: the order of METHODS, variants beside their method, unknown labels last."""
    stem = stem_of(label)
    return (list(METHODS).index(stem) if stem in METHODS else len(METHODS), label)


def stem_of(label: str) -> str:
    """Return the method a label is a variant of: the longest known name that it starts with, or the label itself.

    Registered names have underscores, labels may have hyphens; both are read alike.
    """
    label = label.replace("_", "-")
    known = [name for name in METHODS if label == name or label.startswith((f"{name}-", f"{name}."))]
    return max(known, key=len, default=label)


def method_name(label: str, model: str = "") -> str:
    """Return a method's name for a reader; a dense deep decoder is known by its model."""
    if "decoder" in model and label == "dense":
        return "Deep decoder"
    stem, label = stem_of(label), label.replace("_", "-")
    if label == stem:
        return METHODS.get(label, label.replace("-", " "))
    variant = label[len(stem) + 1 :]
    if SOURCE in label:
        return f"{METHODS[stem]}, mask {variant.replace('-', ' ')}"
    parts = variant.split("-")
    said = [VARIANTS[part] for part in parts] if set(parts) <= VARIANTS.keys() else [variant]
    return ", ".join([METHODS[stem], *said])


def colour(label: str, model: str = "", others: tuple[str, ...] = ()) -> str:
    """Return a method's colour; one without a fixed colour takes a spare one by its place among ``others``."""
    if "decoder" in model and label == "dense":
        return COLOURS["decoder"]
    if SOURCE in label:
        return COLOURS[SOURCE]
    if label.replace("_", "-") in COLOURS:
        return COLOURS[label.replace("_", "-")]
    unknown = [other for other in others if other.replace("_", "-") not in COLOURS]
    return SPARE_COLOURS[unknown.index(label) % len(SPARE_COLOURS)] if label in unknown else SPARE_COLOURS[0]


def budget_name(label: str) -> str:
    """Return a budget for a reader, for example "density 5 %", "degree 3", "50 % MACs"."""
    for kind, form in (("density", "density {} %"), ("macs", "{} % MACs")):
        if label.startswith(kind):
            return form.format(f"{100 * float(label[len(kind) :]):g}")
    return label.replace("degree", "degree ") if label.startswith("degree") else label


def number(value: float | None, decimals: int, signed: bool = False) -> str:
    """Write a number with fixed decimals, thousands apart and a true minus sign; None and NaN become a dash."""
    if value is None or math.isnan(value):
        return DASH
    text = f"{value:{'+' if signed else ''},.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return text.replace("-", MINUS)


def shown(name: str, mean: float | None, sd: float | None = None) -> str:
    """Write a metric's mean, with ± standard deviation where there is a visible one, in its own unit and decimals."""
    how = metric(name)
    text = number(None if mean is None else how.factor * mean, how.decimals)
    if text == DASH or sd is None or math.isnan(sd) or how.factor * sd < 0.5 * 10**-how.decimals:
        return text
    return f"{text} ± {number(how.factor * sd, how.decimals)}"


def duration(seconds: float | None) -> str:
    """Write a time for a reader: 0.4 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if seconds is None or math.isnan(seconds):
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
