"""Many cars, edge servers and radio cells in simulated time."""
