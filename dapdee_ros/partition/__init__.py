"""What a plan costs, which one is best, and the policies that choose; no torch in here."""
