"""Pruning methods: registered functions that find a mask, a smaller network, or a callback that prunes in training."""
