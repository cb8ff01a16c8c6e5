"""The two that `layershap compare` sets side by side, brought to one form; those of MLflow are read in tracking/."""
