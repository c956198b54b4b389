"""Thin rclpy nodes: parameters, QoS, conversion, and calls into the other packages."""
