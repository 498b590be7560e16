"""Deep Compression (Han et al. 2016), the baseline of the ising papers: prune, share weights, code them by Huffman."""
