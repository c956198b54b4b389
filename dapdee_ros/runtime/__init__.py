"""What car and edge do with a frame: head and tail runners, ledger, fallback. No ROS in here."""
