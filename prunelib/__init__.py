"""Regenerate, check and extend the results of four neural-network pruning papers.

The package is layered; every room imports only from rooms before it in this list (a test holds it to that):
errors, options, seeds, registry, expand, recipes, config, runs, compiled, storage, data, models, masks, tasks, measure,
methods, compact, training, report, workflow, commands. What a later room provides by name is reached through the
registry.
Importing ``prunelib`` itself imports nothing heavy (no torch), because a workflow of thousands of jobs does it often.
"""

__version__ = "0.1.0"
