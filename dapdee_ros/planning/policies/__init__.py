"""The policies, one per file; `partition.policy` finds them by name."""
