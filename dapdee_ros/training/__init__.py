"""Trains networks with exits: what all tasks share, and each task's own part. Needs torch."""
