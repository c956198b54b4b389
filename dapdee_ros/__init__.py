"""Split inference on robots: one early-exit network run together by a car and an edge server."""

__version__ = "0.1.0"
