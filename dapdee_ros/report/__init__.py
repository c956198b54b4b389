"""What a run was like: its log, its summary, its pictures."""
