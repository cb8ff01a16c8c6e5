"""The network: a chain of numbered feature layers, a head, and how what lies above the boundary is trained."""

# before anything in here imports Lightning, timm or torchmetrics
from layershap import torchvision_guard as torchvision_guard
