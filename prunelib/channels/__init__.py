"""Coupled channels: found by tracing a network, tried out on a copy, and removed together."""
