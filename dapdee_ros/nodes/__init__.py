"""Thin rclpy nodes: parameters, QoS, conversion, one call into the packages beside this one."""
