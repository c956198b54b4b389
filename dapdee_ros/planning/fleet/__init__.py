"""Many cars that share edge servers and radio cells: one joint choice of plans and shares."""
