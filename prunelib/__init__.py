"""Regenerate, check and extend the results of four neural-network pruning papers.

The package is layered; every sub-package imports only from those before it:
config, runs, storage, data, models, masks, tasks, methods, compact, training, measure, report.
Importing ``prunelib`` itself imports nothing heavy (no torch), because a workflow of thousands of jobs does it often.
"""

__version__ = "0.1.0"
