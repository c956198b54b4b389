"""Simulation in time: link and load traces, a shaped link, and drivers of the cores."""
