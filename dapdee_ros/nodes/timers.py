"""Timers: the only place of this package that makes any.

A node's own clock, which rclpy's timers go by unless told otherwise, is the system clock or
``/clock``. Either can be set back, by NTP or by a bag that begins again, and then a timer keeps
still until the clock is where it was before. So every timer is on the steady clock, and of what
the nodes do only the stamps in headers follow ``/clock``: a paused simulation stops no car.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer


def every(node: Node, period_s: float, callback: Callable[[], None]) -> Timer:
    """Have a callback called again and again, whatever is done to the system clock.

    Args:
        node: whose executor calls it, until ``node.destroy_timer`` is told of the timer.
        period_s: seconds of the steady clock from one call to the next, counted from the first
            one, so that calls do not drift.
        callback: what to call.
    """
    return node.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))
