"""Exits on a network: placed, trained together, calibrated, kept in a model folder."""
