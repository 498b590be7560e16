"""Masks: which weights a network keeps, exactly how many, and whether what is left is alive."""
