"""The car: camera, head, and the manager with its monitors; the edge too unless told otherwise.

ros2 launch dapdee_ros car.launch.py link:=drive                   # everything on one machine
ros2 launch dapdee_ros car.launch.py edge:=false source:=device deadline_s:=0.2
"""

from launch import LaunchDescription

from dapdee_ros.launch_description import describe
from dapdee_ros.process_table import CAR_ARGUMENTS, car_side


def generate_launch_description() -> LaunchDescription:
    """Everything that runs on the car."""
    return describe(CAR_ARGUMENTS, car_side)
