"""Files that are either whole or absent: atomic writes, HDF5, safetensors, checksums, provenance."""
