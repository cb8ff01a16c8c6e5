"""One short file per DVC stage: read settings, call the rooms above, write the outs."""
