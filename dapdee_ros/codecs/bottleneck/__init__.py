"""Learned bottlenecks: files beside a model, the latents that cross the link, their coding."""
