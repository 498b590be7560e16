"""The small networks that structural pruning is tested with."""

from tests.methods.isomorphic.conftest import resnet, resnet_task, vit, vit_task

__all__ = ["resnet", "resnet_task", "vit", "vit_task"]
