"""Timers: the only module of this package that creates them.

A node's own clock, the default of rclpy's timers, is the system clock or ``/clock``. Either can be
set back, by NTP or by a restarted bag, and then a timer stalls until the clock has caught up. So
every timer is on the monotonic clock, and only the stamps in headers follow ``/clock``: a paused
simulation does not stop a car.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer


def every(node: Node, period_s: float, callback: Callable[[], None]) -> Timer:
    """Call a callback periodically, regardless of the system clock.

    Args:
        node: its executor calls the callback, until ``node.destroy_timer``.
        period_s: seconds of the monotonic clock between calls, counted from the first one, so that
            calls do not drift.
        callback: what to call.
    """
    return node.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))
