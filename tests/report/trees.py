"""Synthetic run trees: metrics.json and history.h5 as real runs write them, with phenomena that a test can look for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from prunelib.report.collect import TABLES as COMPUTED
from prunelib.report.collect import collect
from prunelib.report.figures.draw import draw_figures
from prunelib.report.layers import MASK
from prunelib.report.page.build import build_page
from prunelib.report.tables import IDENTITY, as_table
from prunelib.runs import Run
from prunelib.seeds import numpy_generator
from prunelib.storage.hdf5 import creating, save_history

TABLES = ("all_runs", *COMPUTED, "oes", "expanders", "isomorphic", "ising", "crossover")
PROVENANCE = {
    "prunelib": "0.1.0",
    "python": "3.11.7",
    "packages": {"torch": "2.13.0", "numpy": "2.4.0"},
    "machine": {"cpu": "Test CPU", "cores": 2, "gpu": None},
    "inputs": {"data": "0" * 64},
}
SIDE = 32
BASELINES = {"random": 21.0, "magnitude": 22.5, "snip": 23.0, "grasp": 22.0, "synflow": 23.5, "imp": 23.9}


def write_run(
    root: Path,
    run: Run,
    metrics: dict,
    *,
    status: str = "ok",
    why: str = "",
    history: dict | None = None,
    images: dict | None = None,
) -> Path:
    """Write one run's metrics.json (and history.h5) below ``root``; return the path of metrics.json."""
    folder = root / "runs" / run.path
    folder.mkdir(parents=True, exist_ok=True)
    labels = {name: getattr(run, name) for name in ("paper", "task", "model", "method", "budget", "seed")}
    timing = {"wall_s": 12.5 + run.seed, "cpu_s": 11.0, "steps": 100, "step_ms": 3.25, "peak_rss_mb": 512.0}
    record = {"run": {**labels, "path": run.path}, "status": status, "why": why, "scale": "quick"}
    record |= {"metrics": metrics, "timing": timing, "provenance": PROVENANCE}
    (folder / "metrics.json").write_text(json.dumps(record))
    if history is not None:
        save_history(folder / "history.h5", history, images)
    return folder / "metrics.json"


def write_oes(root: Path, seeds: range) -> list[Path]:
    """Two photographs: dense overfits, the decoder and OES stay, baselines end lower, random masks are dead."""
    paths = []
    for task in ("denoise-astronaut", "denoise-coffee"):
        for seed in seeds:
            for model, method, budget, peak, final in [
                ("hourglass", "dense", "full", 26.6, 22.9),
                ("decoder", "dense", "full", 24.9, 24.6),
                ("hourglass", "gumbel", "density0.1", 25.9, 25.3),
                ("hourglass", "gumbel-from-coffee", "density0.1", 25.5, 24.8),
                ("hourglass", "sgld", "full", 26.7, 23.6),
                ("hourglass", "synflow-upstream", "density0.1", 26.5, 22.8),
                ("hourglass", "magnitude-repaired", "density0.1", 25.2, 23.2),
                ("hourglass", "imp", "full", 26.5, 22.7),
                ("hourglass", "imp", "density0.4642", 26.4, 23.0),
                *(("hourglass", name, "density0.1", 24.5, final) for name, final in BASELINES.items()),
            ]:
                if task.endswith("coffee") and "from" in method:
                    continue
                run = Run("oes", task, model, method, budget, seed)
                paths.append(_oes_run(root, run, peak, final))
    return paths


def _oes_run(root: Path, run: Run, peak: float, final: float) -> Path:
    random = numpy_generator(run.seed, "test", run.path)
    density = float(run.budget.removeprefix("density")) if run.budget != "full" else 1.0
    sizes = {"density": density, "density_all": density, "parameters": 1_072_000, "macs": 61_440_000}
    if run.method.endswith("-upstream"):
        sizes |= {"density": 0.9, "density_all": 0.9, "parameters_kept": 964_800}
    if run.method == "gumbel":
        sizes |= {"search_threshold": -2.2, "search_psnr_det": 17.5, "search_loss_det": 0.02 + run.seed / 1000}
    if run.budget != "full":
        write_mask(root, run, density)
        write_slim(root, run)
    if run.method == "random":
        return write_run(
            root, run, {"psnr_final": None, **sizes}, status="dead", why="the output does not depend on the input"
        )
    shift = 0.15 * random.standard_normal() + (0.5 if "coffee" in run.task else 0)
    peak, final, steps = peak + shift, final + shift, np.arange(0, 1025, 25.0)
    rise = peak - 14 * np.exp(-steps / 60)
    psnr = rise - (peak - final) * np.clip((steps - 200) / 824, 0, 1) ** 0.7 + 0.08 * random.standard_normal(len(steps))
    clean = np.indices((SIDE, SIDE)).sum(0)[..., None] * np.array([3, 2, 4]) % 256
    clean[8:18, 8:18] = random.integers(0, 255, (10, 10, 1))
    noisy = np.clip(clean + 25 * random.standard_normal(clean.shape), 0, 255)
    history = {"step": steps, "loss": 0.1 / (steps + 1), "psnr": psnr, "psnr_noisy": psnr - 5}
    images = {"clean": clean, "noisy": noisy, "final": (clean + noisy) / 2, "best": clean}
    images = {name: image.astype(np.uint8) for name, image in images.items()}
    quality = {"psnr_peak": float(psnr.max()), "psnr_final": float(psnr[-1]), "psnr_gap": float(psnr.max() - psnr[-1])}
    quality |= {"psnr_noisy": 20.3, "step_peak": float(steps[psnr.argmax()]), "ssim_final": 0.8123456789}
    quality |= {"psnr_stop": quality["psnr_peak"] - 0.4, "step_stop": 400.0}
    return write_run(root, run, quality | sizes, history=history, images=images)


def write_mask(root: Path, run: Run, density: float) -> None:
    """Write a mask.h5 of three tensors: the encoder's convolution keeps half of the density, the decoder's twice."""
    shares = {"encoder.level0.conv1.weight": 0.5, "encoder.level0.bn1.weight": 1.0, "decoder.level0.conv.weight": 2.0}
    with creating(root / "runs" / run.path / "mask.h5", MASK) as file:
        for index, (name, share) in enumerate(shares.items()):
            kept = np.arange(400) < 400 * min(1.0, share * density)
            stored = file.create_dataset(f"masks/{index:04d}", data=np.packbits(kept))
            stored.attrs["name"], stored.attrs["shape"] = name, (4, 4, 5, 5)


def write_slim(root: Path, run: Run) -> None:
    """Write a slim.json: a third of the MACs, in 40 % of the time; a dead network has neither."""
    dead = run.method == "random"
    slim = {"parameters": 100_000, "macs": 20_480_000}
    timing = {"dense_step_ms": 10.0 + run.seed, "slim_step_ms": 4.0, "threads": 1, "device": "cpu"}
    record = {"dense": {"parameters": 1_072_000, "macs": 61_440_000}, "slim": None if dead else slim}
    path = root / "runs" / run.path / "slim.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record | {"timing": None if dead else timing}))


def write_expanders(root: Path, seeds: range) -> list[Path]:
    """RReg above XNet and random graphs at degree 3, all alike at degree 8."""
    level = {"rreg": (0.92, 0.96), "xnet": (0.86, 0.96), "random-graph": (0.85, 0.955)}
    paths = []
    for seed in seeds:
        runs = [("dense", "full", 0.975, 1.0)]
        runs += [(name, f"degree{d}", level[name][i], (0.05, 0.13)[i]) for name in level for i, d in enumerate((3, 8))]
        for method, budget, top1, density in runs:
            run = Run("expanders", "classify-digits", "vgg-tiny", method, budget, seed)
            paths.append(_classifier(root, run, top1, {"density": density, "density_all": min(1.0, density + 0.01)}))
            if budget != "full":
                write_diagnostics(root, run, expansion=20 * top1 - 15, edges=int(1000 * density) + len(method))
    return paths


def write_diagnostics(root: Path, run: Run, expansion: float, edges: int) -> None:
    """Write a diagnostics.json whose sigma2 falls as the expansion rises."""
    network = {"layer": "network", "edges": edges, "expansion": expansion, "sigma2_bound": 2 / expansion}
    network |= {"effective_share": 0.9, "reached_out": 1.0, "mixing": None}
    path = root / "runs" / run.path / "diagnostics.json"
    path.write_text(json.dumps({"layers": [], "network": network}))


def write_isomorphic(root: Path, seeds: range) -> list[Path]:
    """Two models: isomorphic ranking best before and after fine-tuning."""
    paths = []
    for model in ("vit-tiny", "resnet-tiny"):
        for seed in seeds:
            cost = {"macs": 4_000_000, "macs_compact": 4_000_000, "parameters_compact": 80_000}
            paths.append(
                _classifier(root, Run("isomorphic", "classify-digits", model, "dense", "full", seed), 0.97, cost)
            )
            for method, before, after in (("isomorphic", 0.7, 0.96), ("global", 0.45, 0.94), ("local", 0.6, 0.95)):
                run = Run("isomorphic", "classify-digits", model, method, "macs0.5", seed)
                write_structure(root, run)
                cut = cost | {"macs_compact": 2_000_000 + seed, "parameters_compact": 40_000, "top1_start": before}
                paths.append(_classifier(root, run, after, cut))
        write_costs(root, [path.parent for path in paths if model in path.parts])
    return paths


def write_structure(root: Path, run: Run) -> None:
    """Write a pruned.json of five groups in three sets, one of attention; local ranking halves all of them."""
    kept = {"isomorphic": (20, 12, 60, 8, 16), "global": (30, 2, 63, 6, 24), "local": (16, 16, 32, 8, 16)}[run.method]
    groups = []
    for index, (before, after) in enumerate(zip((32, 32, 64, 16, 32), kept, strict=True)):
        tenths = [round((1 + index) * tenth / 5, 6) for tenth in range(11)]
        group = {
            "name": f"stages.{index}",
            "set": index // 2,
            "before": before,
            "after": after,
            "score_deciles": tenths,
        }
        groups.append(group | ({"heads": [[4, 8], [after // 8, 8]]} if index == 4 else {}))
    path = root / "runs" / run.path / "pruned.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"pruning": {"groups": groups}}))


def write_costs(root: Path, folders: list[Path]) -> None:
    """Write one task's and model's costs: pruned networks take half the MACs and two thirds of the time."""
    runs = {}
    for run in (Run.parse("/".join(folder.parts[-6:])) for folder in folders):
        half = 0.5 if run.budget != "full" else 1.0
        size = {"parameters": int(80_000 * half), "macs": 4e6 * half, "macs_torch_pruning": 4.2e6 * half}
        size |= {"file_mb": 0.5 * half, "forward_mb_batch1": 1.0, "forward_mb_batch16": 8 * half}
        timing = {"cpu_batch1_ms": 1.0, "cpu_batch1_iqr_ms": 0.1, "cpu_batch16_ms": 9.0 if half == 1 else 6.0}
        timing |= {"cpu_batch16_iqr_ms": 0.5} | (
            {"cpu_batch1_speedup": 1.0, "cpu_batch16_speedup": 1.5} if half < 1 else {}
        )
        runs[run.path] = {"size": size, "timing": timing}
    path = root / "costs" / "isomorphic" / run.task / f"{run.model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"threads": 2, "gpu": None, "rounds": 15, "runs": runs}))


def write_ising(root: Path, seeds: range) -> list[Path]:
    """Energies lose a little, keep half; magnitude at the same share keeps more accuracy: the claim holds partly."""
    paths = []
    for seed in seeds:
        for method, budget, top1, kept, compact in [
            ("dense", "full", 0.97, 1.0, 1.0),
            ("ising", "density0.5", 0.95, 0.5, 0.27),
            ("margin", "density0.5", 0.96, 0.48, 0.25),
            ("magnitude", "density0.5", 0.968, 0.5, 1.0),
        ]:
            run = Run("ising", "classify-digits", "resnet-tiny", method, budget, seed)
            sizes = {"density": kept, "density_all": kept, "density_compact": compact, "parameters": 77_000}
            extra = {
                "energy_best": np.linspace(0, -9, 8),
                "energy_mean": np.linspace(0, -7, 8),
                "kept": np.full(8, kept),
            }
            paths.append(_classifier(root, run, top1, sizes, extra if method in ("ising", "margin") else {}))
    return paths


def _classifier(root: Path, run: Run, top1: float, sizes: dict, columns: dict | None = None) -> Path:
    noise = 0.004 * numpy_generator(run.seed, "test", run.path).standard_normal()
    epochs = np.arange(1.0, 9.0)
    history = {"epoch": epochs, "loss": 1 / epochs, "top1_val": top1 - 0.3 / epochs} | (columns or {})
    metrics = {"top1": top1 + noise, "top3": 0.99, "loss": 0.1234, "val_top1": top1, "val_loss": 0.2} | sizes
    return write_run(root, run, metrics, history=history)


def write_crossover(root: Path, seeds: range) -> list[Path]:
    """Masks of two papers on both tasks."""
    paths = []
    for seed in seeds:
        for method, budget, top1, psnr in [
            ("dense", "full", 0.97, 22.0),
            ("gumbel", "density0.1", 0.9, 25.0),
            ("rreg", "density0.1", 0.93, 24.0),
        ]:
            sizes = {"density": 1.0 if budget == "full" else 0.1}
            run = Run("crossover", "classify-digits", "vgg-tiny", method, budget, seed)
            paths.append(_classifier(root, run, top1, sizes))
            run = Run("crossover", "denoise-coffee", "hourglass", method, budget, seed)
            paths.append(write_run(root, run, {"psnr_final": psnr + seed / 10, "psnr_peak": 26.0, **sizes}))
    return paths


def write_tree(root: Path, seeds: range) -> list[Path]:
    """All four papers and two runs that never ran; return the metrics.json paths, existing or not."""
    parts = (write_oes, write_expanders, write_isomorphic, write_ising)
    missing = [Run("expanders", "classify-digits", "vgg-tiny", "rreg", "degree16", seed) for seed in (0, 1)]
    return [path for part in parts for path in part(root, seeds)] + [
        root / "runs" / run.path / "metrics.json" for run in missing
    ]


def collected(root: Path, paths: list[Path]) -> Path:
    """Collect into root/tables and root/provenance/runtimes.csv; return root/tables."""
    tables = {name: root / "tables" / f"{name}.csv" for name in TABLES}
    slim = sorted((root / "runs").rglob("slim.json"))
    diagnostics = sorted((root / "runs").rglob("diagnostics.json"))
    costs = sorted((root / "costs").rglob("*.json"))
    collect(paths, tables, root / "provenance" / "runtimes.csv", slim, diagnostics, costs)
    return root / "tables"


def drawn(root: Path, paths: list[Path]) -> Path:
    """Draw the figures and build the page of a collected tree; return its root."""
    histories, masks = ([path.with_name(name) for path in paths] for name in ("history.h5", "mask.h5"))
    reference, structures = sorted((root / "reference").glob("*.csv")), sorted((root / "runs").rglob("pruned.json"))
    draw_figures(root / "tables", histories, root / "figures", masks, reference, structures)
    build_page(
        root / "tables", root / "figures", root / "provenance" / "runtimes.csv", root / "report" / "index.html", "quick"
    )
    return root


def table_of(*rows: dict) -> pd.DataFrame:
    """Return a table of runs as read from disk; a row gives paper, method, seed and metrics, the rest has defaults."""
    defaults = {"task": "task", "model": "model", "budget": "full", "status": "ok", "scale": "quick", "why": ""}
    metrics = sorted({name for row in rows for name in row} - set(IDENTITY))
    return as_table((*IDENTITY, *metrics), [defaults | row for row in rows])
