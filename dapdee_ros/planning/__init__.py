"""The cost model, the candidate table and the policies; no torch in here."""
