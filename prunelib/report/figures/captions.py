"""The words around every figure: name, part, title, what it shows in words, how to read it. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caption:
    """The words around one figure; the workflow makes <name>.svg, <name>.png and <name>.csv."""

    name: str
    part: str
    title: str
    alt: str
    text: str


CAPTIONS = (
    Caption(
        "oes_curves",
        "oes",
        "Quality along training",
        "Line plots: PSNR to the clean image against training step, one line per method; per photograph a panel of "
        "the main methods and one of the other masks beside OES.",
        "A dense generator first draws the image, then the noise: its curve falls after the peak. Thick lines are "
        "means over seeds, bands ± 1 standard deviation over seeds, thin lines single seeds; among the other masks "
        "every line is a mean. The axis leaves out the first rise. Dotted: the noisy input itself.",
    ),
    Caption(
        "oes_final",
        "oes",
        "Peak and final PSNR at equal density",
        "Dot plot: for each method a hollow dot at its peak PSNR, a filled dot at its final PSNR and a diamond where "
        "the stopping rule ends, best on top.",
        "The distance between the two dots is the overfitting gap. The peak can only be caught with the clean image at "
        "hand; the final value is what a user gets who trains to the end; the diamond is what the stopping rule gets, "
        "which sees the noisy picture only. Small dots are seeds.",
    ),
    Caption(
        "oes_pictures",
        "oes",
        "The pictures",
        "Rows of pictures: clean photograph, noisy photograph and the last output of each key method, with crops and "
        "maps of their errors.",
        "Last output of one seed: whole, magnified (yellow square), and how far each pixel is from the clean picture "
        "(mean over colours). A network that has fitted the noise errs everywhere; one that blurs errs at edges.",
    ),
    Caption(
        "oes_layers",
        "oes",
        "Where a mask keeps weights",
        "Line plots: kept share of each convolution along the network, published masks above, this grid's masks below.",
        "The published OES masks keep little of the middle of the encoder and more of the decoder; the IMP mask "
        "spreads over the encoder. Lines are means, bands the range over the published pictures or over seeds. Our "
        "networks may have fewer levels.",
    ),
    Caption(
        "oes_published",
        "oes",
        "The mask search, published and ours",
        "Line plots: loss of the mask search against its step for four photographs, the authors' logs and our runs.",
        "Black: the loss the authors logged every 1000 steps at 5 % density; grey: at 3 to 4 %. Blue, where recorded: "
        "our searches at the same size and settings, one line per seed. The axis is linear up to step 1000.",
    ),
    Caption(
        "expanders_degree",
        "expanders",
        "Accuracy per graph family",
        "Line plot: test accuracy against degree (left) and against kept share of weights (right), per graph family.",
        "Equal degree does not mean equal parameters: RReg has more edges where a layer widens. The right panel "
        "therefore shows the same runs against what they really keep. Bars: ± 1 standard deviation over seeds.",
    ),
    Caption(
        "expanders_masks",
        "expanders",
        "The masks, layer by layer",
        "Grids of dots: per method a row of matrices, one per layer, with a dark dot for every kernel that is kept.",
        "Each matrix is a layer's graph: inputs across, outputs down. An empty row is an output without input, an "
        "empty column an input that nothing reads; graph families keep whole kernels, scored masks single weights "
        "(pale). The CSV counts both per layer.",
    ),
    Caption(
        "expanders_ramanujan",
        "expanders",
        "Spectra against the Ramanujan bound",
        "Line plots: second singular value of every layer's graph over its bound, one line per graph family.",
        "Below the dotted line a graph's second singular value is within √(dL − 1) + √(dR − 1) of its mean degrees, as "
        "small as that of a random regular graph. Lines are means, dots seeds; dense layers are left out.",
    ),
    Caption(
        "expanders_spectrum",
        "expanders",
        "Accuracy against spectrum and expansion",
        "Scatter plots: test accuracy against σ2 over its bound (left) and against expansion (right), one row per "
        "budget, one colour per graph family.",
        "A good expander has a small σ2 and a large expansion. ρ is Spearman's rank correlation over the runs of a "
        "panel (none for fewer than four), ρ at equal edges the same with the number of edges held fixed: masks of "
        "single weights touch more kernels with as many weights. Leaky networks are left out, they compute with "
        "pruned weights too. Small dots are seeds; the CSV has both correlations of every panel.",
    ),
    Caption(
        "isomorphic_modes",
        "isomorphic",
        "Before and after fine-tuning, at equal MACs",
        "Dot plot: per ranking mode a hollow dot at the accuracy right after pruning, a filled one after fine-tuning.",
        "All modes remove channels from the same trained network until the same MACs remain; only the ranking differs. "
        "Dashed: the dense network. Small dots are seeds.",
    ),
    Caption(
        "isomorphic_widths",
        "isomorphic",
        "Widths before and after",
        "Line plots along the network: channels of every group in the dense and the pruned networks, and the share "
        "that stays, one colour per ranking.",
        "Grey: the dense network. Lines are means over seeds, bands their range. Local ranking takes about the same "
        "share everywhere; global ranking empties some layers and spares others; isomorphic ranking moves channels "
        "only between layers of the same structure.",
    ),
    Caption(
        "isomorphic_scores",
        "isomorphic",
        "Scores within and across isomorphic sets",
        "Range plots: the distribution of channel scores of every group, groups of one isomorphic set side by side.",
        "Bars span the first to the ninth tenth of a group's scores, white dots are medians, thin lines the whole "
        "range. Relative scores have the mean 1 in every group (dotted), so what differs is their shape: channels "
        "compete fairly where shapes are alike.",
    ),
    Caption(
        "ising_kept",
        "ising",
        "Accuracy against what is really kept",
        "Scatter plot: test accuracy against the share of non-zero parameters and of parameters after slimming.",
        "Left: parameters that are not zero. Right: parameters of the network after dead filters are cut out; masks of "
        "single weights stay at 100 % there, because no filter is empty. Large marks: mean ± 1 standard deviation.",
    ),
    Caption(
        "ising_search",
        "ising",
        "The search",
        "Line plots: energy of the population and kept share against epoch, one column per energy, one line per seed.",
        "The evolved states' energy and what the best state keeps. Energies of different kinds have different scales.",
    ),
    Caption(
        "ising_energy",
        "ising",
        "The published energy against the share of units",
        "Line plot: the published Ising energy of random states against the share of units that are on, with the "
        "parabola p² − p and the energy whose minimum is asked to lie elsewhere.",
        "Recorded benchmark: random states of one network at every share, mean ± 1 standard deviation. The published "
        "energy follows the parabola, so its minimum is at one half whatever the data say. Squares: the same "
        "energy with another minimum asked for. Marks at the foot: where searches of this grid ended.",
    ),
    Caption(
        "crossover_methods",
        "crossover",
        "What should I use?",
        "Dot plots: per task the quality of every method, then time to find the mask, parameters, operations and time "
        "of a pass after compaction; one row per method, best on top.",
        "Every mask method on both kinds of tasks at equal density; rows stand in the order of the mean rank of "
        "quality. Large marks are means with ± 1 standard deviation over seeds, small ones seeds. Time to find a mask "
        "includes what had to be trained before; the last panels are of networks after dead channels are cut out.",
    ),
    Caption(
        "cost_fronts",
        "cost",
        "What a parameter buys",
        "Scatter plots: quality against the share of parameters after compaction, one panel per part, task and model.",
        "Marks with a name are on the Pareto front of the means: nothing is as small and better. The grey band is one "
        "pooled standard deviation over seeds deep: what stands in it can't be told from the front here. Bars: ± 1 "
        "standard deviation both ways.",
    ),
)
NAMES = tuple(caption.name for caption in CAPTIONS)
FILES = tuple(f"{name}.{suffix}" for name in NAMES for suffix in ("svg", "png", "csv"))
