"""Expanders: random bipartite graphs, their spectra, and the masks that keep kernels along their edges."""
