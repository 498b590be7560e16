"""Measurements of a trained network: accuracy, image quality, parameters, MACs, latency."""
