"""compare.html: two models side by side, from what the stages wrote of each."""
