"""Each paper's claims as comparisons between runs; here those about masks, and the list of all."""

from __future__ import annotations

from prunelib.report.claims.check import DECIBEL, POINT, RUN_AND_BUDGET, Check, Need, Untested
from prunelib.report.claims.networks import ISING, ISOMORPHIC


def _oes_baseline(label: str, name: str) -> Check:
    return Check(
        f"above-{label}",
        f"OES ends above {name} at equal density",
        "gumbel",
        label,
        "psnr_final",
        margin=DECIBEL,
        equal="density",
        optional=True,
        stated="abstract; figures psnr_comb0.svg and Set14-0.svg" if label == "imp" else "abstract; figure Set14-0.svg",
    )


OES = (
    Check(
        "smaller-gap",
        "After its peak, OES loses less PSNR than dense",
        "gumbel",
        "dense",
        "psnr_gap",
        margin=DECIBEL,
        sign=-1,
        headline=True,
        stated="abstract; figures 1 and psnr_comb0.svg",
    ),
    Check(
        "above-dense",
        "OES ends above dense",
        "gumbel",
        "dense",
        "psnr_final",
        margin=DECIBEL,
        headline=True,
        stated="abstract; figures 1 and psnr_comb0.svg",
    ),
    _oes_baseline("random", "random masks"),
    _oes_baseline("magnitude", "magnitude"),
    _oes_baseline("snip", "SNIP"),
    _oes_baseline("grasp", "GraSP"),
    _oes_baseline("synflow", "SynFlow"),
    _oes_baseline("imp", "IMP"),
    Check(
        "transfers",
        "With a mask from another image, training ends above dense",
        "gumbel-from-*",
        "dense",
        "psnr_final",
        margin=DECIBEL,
        optional=True,
        headline=True,
        stated="abstract; figure 2",
    ),
    Check(
        "transfers-imp",
        "A mask from another image serves better if OES found it than if IMP did",
        "gumbel-from-*",
        "imp-from-*",
        "psnr_final",
        margin=DECIBEL,
        equal="density",
        optional=True,
        stated="abstract; impvsoes_comparison.ipynb",
    ),
    Check(
        "above-decoder",
        "OES reaches a higher peak than the deep decoder",
        "gumbel",
        "dense@*decoder*",
        "psnr_peak",
        margin=DECIBEL,
        pair_by=("task", "seed"),
        optional=True,
        stated="OES_demo_comparison.ipynb",
    ),
)

RREG, XNET, RANDOM_GRAPH = (f"{name}|{name}-dense-stem" for name in ("rreg", "xnet", "random-graph"))
STRICT_GRAPHS = f"{RREG}|{XNET}|{RANDOM_GRAPH}|ramanujan|rreg-merge"


def _expander(
    name: str, text: str, left: str, right: str, headline: bool = False, effect: bool = False, needs: Need = "above"
) -> Check:
    return Check(
        name,
        text,
        left,
        right,
        "top1",
        needs=needs,
        margin=POINT,
        pair_by=RUN_AND_BUDGET,
        smallest="degree",
        optional=effect,
        headline=headline,
        effect=effect,
        stated="" if effect else "abstract",
    )


def _peer(label: str, name: str) -> Check:
    text = f"RReg is not below {name} with as many weights"
    return _expander(f"rreg-{label}", text, RREG, f"{label}|{label}-dense-stem", effect=True, needs="not below")


EXPANDERS = (
    _expander("rreg-random", "RReg beats random graphs at the smallest degree", RREG, RANDOM_GRAPH, headline=True),
    _expander("rreg-xnet", "RReg beats XNet at the smallest degree", RREG, XNET, headline=True),
    _expander("xnet-random", "XNet does not beat random graphs there", RANDOM_GRAPH, XNET, needs="not below"),
    _expander(
        "leaky-strict",
        "Pruned weights that stay in the forward pass (as in the authors' code) raise RReg's accuracy there",
        "rreg-leaky",
        "rreg",
        effect=True,
    ),
    _expander(
        "rreg-random-leaky",
        "RReg beats random graphs there as the authors' code runs both",
        "rreg-leaky-shared*",
        "random-graph-leaky-shared*",
        effect=True,
    ),
    Check(
        "expansion",
        "Of two graphs with as many edges, the one that expands more ends higher",
        STRICT_GRAPHS,
        STRICT_GRAPHS,
        "top1",
        margin=POINT,
        pair_by=RUN_AND_BUDGET,
        equal="graph_edges",
        higher="graph_expansion",
        optional=True,
    ),
    _peer("erk", "ERK"),
    _peer("snip", "SNIP"),
    _peer("synflow", "SynFlow"),
    _peer("phew", "PHEW"),
)


CLAIMS: dict[str, tuple[Check, ...]] = {"oes": OES, "expanders": EXPANDERS, "isomorphic": ISOMORPHIC, "ising": ISING}


UNTESTED = (
    Untested("oes", "mri", "OES masks serve MRI reconstruction too", "abstract", "no MRI data and no such task here"),
    Untested(
        "oes",
        "layers",
        "OES empties the encoder where IMP spreads over it",
        "figure 10",
        "drawn beside the published masks in the figure oes_layers; masks are no column of the tables",
    ),
    Untested(
        "isomorphic",
        "transfer",
        "Pruned networks transfer to other data as the dense ones do",
        "third-party note",
        "the published text has no numbers for it and there is no such task here",
    ),
)
