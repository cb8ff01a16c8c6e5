"""Training on cached features with Lightning: batches, epochs, checkpoints."""
