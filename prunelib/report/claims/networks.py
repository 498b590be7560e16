"""Claims about networks that get smaller: isomorphic pruning and the energies."""

from __future__ import annotations

from prunelib.report.claims.check import POINT, RUN_AND_BUDGET, Check

CRITERIA = {"l1": "L1", "fisher": "Hessian"}


def _isomorphic(metric: str, when: str, other: str, effect: bool = False, criterion: str = "") -> Check:
    end = f"-{criterion}" if criterion else ""
    how = f" of {CRITERIA[criterion]} scores" if criterion else ""
    return Check(
        f"{metric}-{other}{end}",
        f"Isomorphic is not below {other} ranking{how} {when}",
        f"isomorphic{end}",
        f"{other}{end}",
        metric,
        needs="not below",
        margin=POINT,
        pair_by=RUN_AND_BUDGET,
        equal="macs_compact",
        optional=effect or bool(criterion),
        headline=metric == "top1" and not effect and not criterion,
        effect=effect,
        stated="" if effect else "figure of the ablation of rankings (third-party note)",
    )


ISOMORPHIC = (
    _isomorphic("top1", "after fine-tuning", "global"),
    _isomorphic("top1", "after fine-tuning", "local"),
    _isomorphic("top1_start", "before fine-tuning", "global"),
    _isomorphic("top1_start", "before fine-tuning", "local"),
    *(_isomorphic("top1_start", "before fine-tuning", "global", criterion=criterion) for criterion in CRITERIA),
    _isomorphic("top1", "after fine-tuning", "uniform", effect=True),
    _isomorphic("top1_start", "before fine-tuning", "uniform", effect=True),
)


def _ising(energy: str, name: str, drop: float, drop5: float, optional: bool) -> tuple[Check, ...]:
    return (
        Check(
            f"{energy}-half",
            f"{name}: about half of the weights go, or more (kept ≤ 55 %)",
            energy,
            0.5,
            "density",
            needs="not below",
            margin=0.05,
            sign=-1,
            optional=optional,
        ),
        _drop(energy, name, "top1", drop, optional, headline=True),
        _drop(energy, name, "top5", drop5, optional=True),
        Check(
            f"{energy}-magnitude",
            f"{name} beats magnitude pruning at the same kept share",
            energy,
            "*magnitude*",
            "top1",
            margin=POINT,
            equal="density",
            optional=optional,
            headline=not optional,
            stated="abstract; rows P and Deep Compression of the tables",
        ),
        Check(
            f"{energy}-random",
            f"{name} beats a random state that keeps as many weights",
            energy,
            "random-gates",
            "top1",
            margin=POINT,
            equal="density",
            optional=True,
            effect=True,
            stated="",
        ),
    )


def _drop(energy: str, name: str, metric: str, drop: float, optional: bool, headline: bool = False) -> Check:
    return Check(
        f"{energy}-drop{'' if metric == 'top1' else '-top5'}",
        f"{name}: {metric[:3]}-{metric[3]} falls by at most {100 * drop:g} points against dense",
        energy,
        "dense",
        metric,
        needs="not below",
        margin=drop,
        optional=optional,
        headline=headline,
    )


ISING = (
    *_ising("ising", "Ising energy", drop=0.10, drop5=0.05, optional=False),
    *_ising("margin", "Margin energy", drop=0.05, drop5=0.01, optional=True),
)
