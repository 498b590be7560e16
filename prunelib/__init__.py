"""Regenerate, check and extend the results of four neural-network pruning papers.

The package is layered; every room imports only from rooms before it in this list (a test holds it to that):
errors, options, seeds, registry, expand, recipes, config, runs, compiled, storage, data, models, channels, masks,
tasks, measure, methods, compact, training, report, workflow, commands. What a later room provides by name is reached
through the registry.
Importing ``prunelib`` itself imports nothing heavy (no torch), because a workflow of thousands of jobs does it often.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, which is too slow to import here
if TYPE_CHECKING:
    from os import PathLike

    from torch import nn

__version__ = "0.1.0"


def load(path: str | PathLike[str]) -> nn.Module:
    """Return the trained network of a run's directory or of a .safetensors file, on the CPU, in evaluation mode.

    See ``prunelib.models.saved.load``. Raises prunelib.errors.ArtefactError; a pickle is never opened.
    """
    from prunelib.models.saved import load as load_model

    return load_model(path)
