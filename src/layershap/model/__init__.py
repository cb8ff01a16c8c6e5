"""The network: a chain of numbered feature layers, a head, and how what lies above the boundary is trained."""
