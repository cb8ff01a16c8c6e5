"""Pictures of heatmaps, and how every picture is drawn. Needs numpy and matplotlib alone."""
