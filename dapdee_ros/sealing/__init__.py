"""The sealed link between car and edge: keys, handshake, sessions. No ROS, no clock, no threads."""
