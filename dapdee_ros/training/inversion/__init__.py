"""Attacks that restore the image from what crosses the link."""
