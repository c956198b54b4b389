"""The policies, one a file; `partition.policy` finds them by name."""
