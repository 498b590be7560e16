"""Initialisers shared by the classifiers."""

from __future__ import annotations

from torch import nn


def kaiming_fan_out_(network: nn.Module) -> None:
    """Set convolutions to N(0, 2 / (k·k·outputs)) with zero bias and batch norms to scale 1, shift 0, in place.

    Source: He et al. 2015, mode fan_out, as the expanders and ising networks use it; linear layers are left alone.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
