"""Structural pruning: coupled channels, attention heads and head dimensions, ranked within isomorphic sets."""
