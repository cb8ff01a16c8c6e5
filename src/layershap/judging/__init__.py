"""Numbers about predictions, and the verdict on a model. Loads nothing heavy at import of the gate."""
