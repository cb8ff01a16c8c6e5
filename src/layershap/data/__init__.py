"""Images: where they come from, which are usable, how they are divided, how they reach the network."""
