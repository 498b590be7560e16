"""Data: sources become sealed HDF5 files with fixed splits; nothing here needs torch."""
