"""What of the planning can be set while it runs."""

from __future__ import annotations

from rclpy.node import Node

from dapdee_ros.core.frames import DEADLINE_BOUNDS_S, WINDOW_BOUNDS
from dapdee_ros.nodes.parameters import declare

PLANNING = (
    "policy",
    "gates",
    "deadline_s",
    "priority",
    "mode",
    "accuracy_floor",
    "accuracy_tolerance",
    "period_tolerance",
    "keep_raw_on_car",
    "pinned_plan",
    "risk",
    "frame_utilisation",
    "max_in_flight",
    "plan_margin",
    "min_dwell_s",
)
"""Names of the parameters that ``declare_planning`` declares."""


def declare_planning(node: Node) -> None:
    """Declare them, each with its description and range."""
    declare(
        node,
        "deadline_s",
        0.3,
        "Seconds from an image to its result that a plan has to meet. The plan tells the head, "
        "which keeps it from the next frame on.",
        bounds=DEADLINE_BOUNDS_S,
        live=True,
    )
    declare(
        node,
        "priority",
        False,
        "The task has priority: plan for the lowest latency whatever the load.",
        live=True,
    )
    declare(
        node,
        "mode",
        "auto",
        "What to minimise: the latency of a frame, or the period between frames; auto chooses "
        "by the load score.",
        choices=("auto", "latency", "throughput"),
        live=True,
    )
    declare(
        node,
        "policy",
        "exact",
        "Who decides: exact, dapdee, dads, neurosurgeon, edgent, eddi, branchynet, edge-only, "
        "device-only, one that a package brings, or package.module:Class of your own (only at the "
        "start); with +codec or +any behind the name for those that send plain tensors.",
        live=True,
    )
    declare(
        node,
        "gates",
        True,
        "Let a confident early exit end a frame on the car where that pays.",
        live=True,
    )
    declare(
        node,
        "accuracy_floor",
        0.0,
        "Least accuracy that a plan may have.",
        bounds=(0.0, 1.0),
        live=True,
    )
    declare(
        node,
        "accuracy_tolerance",
        0.005,
        "Accuracy that may be given up for a lower latency or period.",
        bounds=(0.0, 1.0),
        live=True,
    )
    declare(
        node,
        "period_tolerance",
        0.01,
        "Where throughput counts: share by which a period may be longer than the shortest and "
        "still count as equal to it; among equals the lowest latency decides.",
        bounds=(0.0, 1.0),
        live=True,
    )
    declare(
        node,
        "keep_raw_on_car",
        False,
        "Never send the image itself, nor a tensor that it could be computed back from.",
        live=True,
    )
    declare(
        node,
        "pinned_plan",
        "",
        "A plan to hold on to, such as 'exit=4 boundary=image codec=f32'; without boundary the "
        "car finishes alone. Empty: decide.",
        live=True,
    )
    declare(
        node,
        "risk",
        0.5,
        "Judge the deadline at the rate that the link falls below with this probability; 0.5 "
        "is the estimate itself, smaller is more careful.",
        bounds=(0.01, 0.5),
        live=True,
    )
    declare(
        node,
        "frame_utilisation",
        0.85,
        "A plan may take at most this share of the time between two frames, or it would fall "
        "behind and drop some; 0: frames may be dropped.",
        bounds=(0.0, 1.0),
        live=True,
    )
    declare(
        node,
        "max_in_flight",
        4,
        "Most frames between head and edge; it bounds the throughput of what is sent. The plan "
        "tells the head, which keeps it from the next frame on.",
        bounds=WINDOW_BOUNDS,
        live=True,
    )
    declare(
        node,
        "plan_margin",
        0.1,
        "Share of latency or period that a new plan has to save to be worth a change.",
        bounds=(0.0, 1.0),
        live=True,
    )
    declare(
        node,
        "min_dwell_s",
        0.25,
        "Seconds that a plan stays at least, unless it cannot be kept; less where a new one saves "
        "more than a fifth.",
        bounds=(0.0, 60.0),
        live=True,
    )
