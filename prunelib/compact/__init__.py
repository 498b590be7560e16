"""Compaction: what a mask or structural pruning has made dead is physically removed; the output stays equal."""
