"""Recordings in rosbag2's formats: read without ROS, replayed through the network, written."""
