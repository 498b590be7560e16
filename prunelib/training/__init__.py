"""Training: one loop for classification, one for image fitting; recipes, resume, progress."""
