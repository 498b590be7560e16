"""Pruning at initialisation by a score per parameter: random, magnitude, SNIP, GraSP, SynFlow."""
