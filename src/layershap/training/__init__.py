"""Training on cached features, or on images, with Lightning: batches, epochs, checkpoints."""
