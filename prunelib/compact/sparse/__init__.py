"""Sparse compute: layers that hold and multiply the kept kernels only, where a measurement says that this is faster."""
