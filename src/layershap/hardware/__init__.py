"""On which devices, and by how many processes together, a stage computes."""
