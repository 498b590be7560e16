"""Prune timm architectures to half their MACs and run them both ways: python benchmarks/timm_support.py."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is used in place

import timm
import torch
from torch import Tensor, nn

from benchmarks.common import save
from prunelib.errors import PrunelibError
from prunelib.methods.isomorphic.prune import Choices, prune
from prunelib.methods.isomorphic.ranking import Rules
from prunelib.models.build import build
from prunelib.seeds import generator

EXAMPLES = """examples:
  python benchmarks/timm_support.py --csv results/reference/benchmarks/timm_support.csv
  python benchmarks/timm_support.py resnet18 swin_tiny_patch4_window7_224

One line per architecture at random weights: its size, what is left of it, how many groups of channels can be pruned and
how many stay as they are, whether the pruned network runs forward and backward. The criterion is L1, the ratio the same
for channels, heads and head dimensions; images are small where the architecture allows.
"""
ARCHITECTURES = """
resnet18 resnet50 resnext50_32x4d seresnet18 resnetv2_18 wide_resnet50_2 regnetx_002 regnety_002 densenet121 vgg11_bn
mobilenetv2_050 mobilenetv3_small_050 mnasnet_050 efficientnet_b0 tf_efficientnetv2_b0 efficientnet_lite0 fbnetc_100
hardcorenas_a ghostnet_050 spnasnet_100 lcnet_050 darknet53 dla34 cspresnet50 repvgg_a0 mobileone_s0 hgnetv2_b0
convnext_atto convnextv2_atto convmixer_768_32 inception_next_atto mambaout_femto fasternet_t0 starnet_s1 rdnet_tiny
deit_tiny_patch16_224 deit_tiny_distilled_patch16_224 vit_tiny_patch16_224 beit_base_patch16_224 pit_ti_224
swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 crossvit_tiny_240 cait_xxs24_224 convit_tiny poolformer_s12
mixer_s32_224 resmlp_12_224 pvt_v2_b0 twins_pcpvt_small xcit_nano_12_p16_224 edgenext_xx_small mobilevit_xxs
efficientformer_l1 efficientvit_b0 repvit_m0_9 dpn48b mixnet_s coat_tiny eva02_tiny_patch14_224
"""
SIDES = (64, 128)  # pixels, tried before the architecture's own
COLUMNS = [
    "architecture",
    "side",
    "parameters_m",
    "macs_m",
    "macs_left",
    "groups",
    "fixed",
    "forward",
    "backward",
    "why",
]


def main() -> None:
    """Print a line per architecture; write all of it as CSV when asked to."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    rows = []
    for row in _rows(arguments.names or ARCHITECTURES.split()):
        rows.append(row)
        print(", ".join(map(str, row)), flush=True)
    if arguments.csv:
        save(arguments.csv, str(__doc__), COLUMNS, rows, timm=timm.__version__)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"architectures (default: {len(ARCHITECTURES.split())} of them)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--csv", type=Path, help="write the table here too, and what it was measured with beside it")
    return parser.parse_args()


def _rows(names: list[str]) -> Iterator[list[Any]]:
    for name in names:
        model, example = fresh(name)
        size = round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2)
        try:
            yield [name, example.shape[-1], size, *halved(model, example)]
        except (PrunelibError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            yield [name, example.shape[-1], size, "", "", "", "", "", "", f"not supported because {reason}"]


def halved(model: nn.Module, example: Tensor) -> list[Any]:
    """Prune to half the MACs; return dense MACs (10⁶), share left, groups, fixed groups, forward, backward, a remark.

    Raises PrunelibError where that can't be done.
    """
    choices = Choices(Rules("isomorphic", head_dims=1.0), "l1", "mean", "all", batches=1, rounds=1, latency_batch=1)
    task = SimpleNamespace(example=example, device=torch.device("cpu"), seed=0)
    small, record = prune(model, task, {"kind": "macs", "value": 0.5}, choices, generator(0, "ties"))
    output = small.train()(example)
    outputs = output if isinstance(output, tuple) else (output,)
    forward = all(bool(torch.isfinite(found).all()) for found in outputs)
    sum(found.square().mean() for found in outputs).backward()
    backward = all(
        bool(torch.isfinite(parameter.grad).all()) for parameter in small.parameters() if parameter.grad is not None
    )
    dense, left = record["dense"]["macs"], record["pruned"]["macs"]
    why = sorted({found["why"] for found in record["fixed"]} - {"holds the model's outputs"})
    remark = f"some channels stay: {why[0]}" if why else ""
    words = ["yes" if good else "no" for good in (forward, backward)]
    return [round(dense / 1e6, 1), round(left / dense, 3), len(record["groups"]), len(record["fixed"]), *words, remark]


def fresh(name: str) -> tuple[nn.Module, Tensor]:
    """Return the architecture at random weights with ten classes, and two images of the smallest side it takes."""
    for side in SIDES:
        for image_side in (None, side):
            try:
                model = _build(name, image_side)
                example = torch.randn(2, 3, side, side, generator=generator(0, "images"))
                with torch.no_grad():
                    model.eval()(example)
                return model, example
            except (PrunelibError, RuntimeError, AssertionError, ValueError, IndexError):
                continue
    side = timm.get_pretrained_cfg(name).input_size[-1]
    return _build(name, None), torch.randn(2, 3, side, side, generator=generator(0, "images"))


def _build(name: str, image_side: int | None) -> nn.Module:
    options = {"name": name} | ({} if image_side is None else {"image_side": image_side})
    return build({"builder": "timm", "options": options}, 0, classes=10, in_channels=3)


if __name__ == "__main__":
    main()
