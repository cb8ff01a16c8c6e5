"""A network as numbered feature layers and a head. Needs torch alone."""

from layershap.chain.chain import Chain

__all__ = ["Chain"]
