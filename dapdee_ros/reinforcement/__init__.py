"""Policies for fleets that are learned: environments, training, export. Needs the extra rl."""
