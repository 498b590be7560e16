"""Pruning while training: a population of binary states evolves by an energy (IPruning, EDropout, EPruning)."""
