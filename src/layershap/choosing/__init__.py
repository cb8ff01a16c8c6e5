"""Choosing settings: numbers over folds, spaces and trials of a search."""
