"""What the page says about each part of the grid besides numbers: claim, source, caveats; and the columns it shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One section of the page. ``columns`` are the metrics of its results table, shown when a run has them."""

    key: str
    title: str
    short: str
    claim: str
    source: str
    columns: tuple[str, ...]
    caveats: tuple[str, ...]


# The metrics of every part's table of size and cost.
COST = (
    "density",
    "density_all",
    "density_compact",
    "parameters",
    "parameters_kept",
    "parameters_compact",
    "macs",
    "macs_kept",
    "macs_compact",
    "parameters_slim",
    "macs_slim",
    "macs_torch_pruning",
    "file_mb",
    "forward_mb_batch1",
    "forward_mb_batch16",
)
# The metrics of a table of mask searches, where a method reports any.
SEARCH = (
    "search_threshold",
    "search_mean_logit",
    "search_psnr_det",
    "search_loss_det",
    "search_loss_single",
    "search_loss_multiple",
)
# The metrics of a table of masks as graphs, where they were diagnosed.
GRAPHS = (
    "graph_edges",
    "graph_sigma2_bound",
    "graph_gap",
    "graph_ramanujan",
    "graph_expansion",
    "graph_worst_in",
    "graph_worst_out",
    "graph_isolated_in",
    "graph_isolated_out",
    "graph_reached_out",
    "graph_effective_share",
    "graph_log10_paths",
)

PARTS = (
    Part(
        "oes",
        "Optimal Eye Surgeon",
        "OES",
        "An image generator pruned at its random initial weights, from the noisy picture alone, can be trained to the "
        "end without fitting the noise: it ends above the dense network and above other masks of its density, and its "
        "mask serves other pictures too.",
        "Optimal Eye Surgeon: Finding Image Priors through Sparse Generators at Initialization. ICML 2024, "
        "PMLR 235:15610–15645, arXiv:2406.05288 (abstract, figures 1 and 2)",
        ("psnr_final", "psnr_peak", "psnr_gap", "psnr_stop", "step_stop", "psnr_last10", "ssim_final"),
        (
            "The paper fits 512 × 512 pixels with 3.0 million parameters at 5 % density, 60 000 search steps and "
            "40 000 training steps. At a smaller scale only directions can be compared, not decibels.",
            "Masks are compared at the density of the OES mask; only those named “authors' code” may keep more (see "
            "the findings).",
            "OES prunes norms and biases too, which shuts whole channels; the other masks prune weights only. “OES, "
            "weights” and “SynFlow, all” swap that: read them before crediting the learned mask alone.",
            "Peak PSNR is an upper bound that nobody reaches without the clean picture. Single final values jump when "
            "the optimizer spikes; the median of the last ten logged values does not.",
        ),
    ),
    Part(
        "expanders",
        "Expanders",
        "Expanders",
        "Without any data, a mask drawn as a random regular bipartite graph (RReg) trains to a higher accuracy than "
        "the earlier expander construction (XNet) and than plain random graphs, which hardly differ from each other.",
        "Data-Free Model Pruning at Initialization via Expanders. CVPR 2023 Workshops, pp. 4519–4524, "
        "doi 10.1109/CVPRW59228.2023.00475 (abstract)",
        ("top1", "val_top1", "loss"),
        (
            "Here a pruned weight is zero from the first step to the last. The authors' code fills the pruned weights "
            "at initialisation and masks gradients only, so its networks are not sparse while they train.",
            "Equal degree is not equal size: RReg keeps more edges where a layer widens and fewer where it is square. "
            "Compare the obtained density before crediting the graph.",
            "The advantage is expected at small degrees, where XNet and random graphs leave channels without input, "
            "first of all in the first layer; with more edges the families come together.",
        ),
    ),
    Part(
        "isomorphic",
        "Isomorphic Pruning",
        "Isomorphic",
        "Ranking channels only among groups of the same structure keeps at least as much accuracy as ranking all "
        "channels together (global) or layer by layer (local), at the same MACs.",
        "Isomorphic Pruning for Vision Models. ECCV 2024, arXiv:2407.04616 (abstract, ablation of the ranking)",
        ("top1", "top1_start", "loss"),
        (
            "The paper prunes networks trained on ImageNet and fine-tunes them for 100 to 300 epochs. Here the "
            "pipeline trains small networks itself and fine-tunes briefly.",
            "Accuracy right after pruning shows what the ranking chose; long fine-tuning can hide it.",
            "A group that has no partner of its own structure is ranked alone, so on small networks isomorphic and "
            "local ranking agree in part by construction.",
        ),
    ),
    Part(
        "ising",
        "Energy-based pruning (IPruning, EPruning, EDropout)",
        "Ising",
        "An evolved binary state of low energy drops filters while the network trains: about half of the parameters "
        "go, accuracy falls by less than 10 points (Ising energy) or 5 points (margin energy), and magnitude pruning "
        "of the same share falls further.",
        "IPruning, ICASSP 2021, arXiv:2102.05437; EPruning, ICASSP 2021, arXiv:2102.13188; EDropout, TNNLS 2021, "
        "arXiv:2006.04270 (abstracts; tables against Deep Compression)",
        ("top1", "top3", "top5", "loss", "density_upstream", "top1_full", "top1_random", "top1_random50"),
        (
            "The published Ising energy has its minimum at one half of the units by construction, so a kept share near "
            "50 % is no finding of the search.",
            "Removing a filter also removes the inputs it fed: after slimming, fewer parameters remain than the kept "
            "share says. Masks of single weights do not make a network smaller at all.",
            "Magnitude pruning here is the first stage of Deep Compression: prune the trained network once, then train "
            "on. Its other stages, shared and Huffman-coded weights, have runs of their own; the papers' tables know "
            "the first stage only. Where half of the weights are kept, sparse arrays are no smaller than dense ones.",
        ),
    ),
    Part(
        "crossover",
        "Crossover",
        "Crossover",
        "No paper claims this: mask methods of one paper on the task of another, at equal density.",
        "prunelib's own comparison",
        ("psnr_final", "psnr_peak", "psnr_gap", "top1", "loss"),
        ("A method may need other settings on a task it was not made for; nothing was tuned for these runs.",),
    ),
)
