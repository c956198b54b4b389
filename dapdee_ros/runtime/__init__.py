"""Runs frames on car and edge: head and tail runners, ledger, fallback. No ROS in here."""
