"""The car: camera, head, and the manager with its monitors; on request the edge and the picture.

ros2 launch dapdee_ros car.launch.py source:=device deadline_s:=0.2
ros2 launch dapdee_ros car.launch.py edge:=true link:=drive      # everything on one machine
"""

from launch import LaunchDescription
from launch.conditions import IfCondition

from dapdee_ros import launch_description as parts


def generate_launch_description() -> LaunchDescription:
    """Everything that runs on the car."""
    arguments = parts.Arguments()
    common = parts.common_arguments(arguments)
    link = parts.link_argument(arguments)
    source = arguments.add(
        "source",
        "roadsigns",
        "Where frames come from: roadsigns (rendered scenes), device (V4L2), video, images, or "
        "none if another driver publishes image_raw.",
        choices=("roadsigns", "device", "video", "images", "none"),
    )
    path = arguments.add("path", "", "Device, video file or image folder of that source.")
    rate_hz = arguments.add("rate_hz", "10.0", "Frames per second of the camera node.")
    deadline_s = arguments.add("deadline_s", "0.3", "Seconds from an image to its result.")
    threads = arguments.add("threads", "0", "Inference threads; 0: half of the cores.")
    slowdown = arguments.add(
        "emulated_slowdown", "1.0", "Play a car so many times slower than this machine; 1: off."
    )
    edge = arguments.add(
        "edge", "false", "Start the edge's nodes here as well.", choices=("true", "false")
    )
    viewer = arguments.add(
        "viewer", "false", "Start the live picture here as well.", choices=("true", "false")
    )
    http_port = arguments.add("http_port", "8080", "Port of the live picture; 0: topic only.")
    model = {"model": parts.text(common["model"])}
    deadline = {"deadline_s": parts.number(deadline_s, float)}
    return LaunchDescription(
        [
            *arguments.declared,
            parts.process(
                "camera",
                common,
                {
                    "source": parts.text(source),
                    "path": parts.text(path),
                    "rate_hz": parts.number(rate_hz, float),
                },
            ),
            parts.process(
                "head",
                common,
                {
                    **model,
                    **deadline,
                    "threads": parts.number(threads, int),
                    "emulated_slowdown": parts.number(slowdown, float),
                },
            ),
            parts.process("manager", common, {**model, **deadline}),
            parts.process(
                "link_emulator",
                common,
                {"link": parts.text(link)},
                condition=IfCondition(parts.emulated(link)),
            ),
            parts.process(
                "viewer",
                common,
                {**model, **deadline, "http_port": parts.number(http_port, int)},
                condition=IfCondition(viewer),
            ),
            *parts.edge_processes(common, threads, parts.emulated(link), only_if=edge),
        ]
    )
