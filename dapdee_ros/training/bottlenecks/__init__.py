"""Learned bottlenecks: trained to send less at one boundary of a network that stays as it is."""
