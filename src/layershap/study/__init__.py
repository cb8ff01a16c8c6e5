"""Studies of the explanations themselves: how faithful they are, and what in them comes from the references."""
