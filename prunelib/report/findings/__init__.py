"""What reading the published material brought to light, each finding beside the evidence that this pipeline makes."""
