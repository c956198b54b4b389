"""The car's speed and the frame rate: what it can finish on its own, and how often it sends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dapdee_ros.core.programs import HeadProgram

_FRAMES_A_DEADLINE = 3
"""How many frames are taken to come within a deadline, until their rate is known."""

_UTILISATION = 0.85
"""Share of the time between two frames that finishing another's frame may take."""

_NEWER_INTERVALS = 1.5
"""Frame intervals after which a newer frame should have come."""

_SMOOTHING = 0.2

_MOST_INTERVAL_S = 10.0
_LEAST_HOLDS_S = 1.0
_HOLDS_INTERVALS = 3


class Pace:
    """Tracks the car's slowdown and the frame interval; all times in s, passed by the caller.

    Attributes:
        slowdown: measured over profiled seconds, smoothed.
        interval_s: time between two frames; infinite until it is known.
        overhead_s: what a frame costs the car beside the network, by its profile.
    """

    def __init__(self) -> None:
        self.slowdown = 1.0
        self.overhead_s = 0.0
        self.interval_s = math.inf
        self._last_s = math.nan

    def on_frame(self, now_s: float) -> None:
        """A frame arrived."""
        if not math.isnan(self._last_s):
            interval_s = now_s - self._last_s
            if math.isinf(self.interval_s):
                self.interval_s = interval_s
            self.interval_s += _SMOOTHING * (interval_s - self.interval_s)
        self._last_s = now_s

    def on_computed(self, spent_s: float, profiled_s: float) -> float:
        """Something was computed; returns its slowdown.

        What takes less than a frame costs this machine beside the network says nothing: waiting
        once for a processor makes it many times slower, but no larger part. A car that only sends
        images would look twenty times slower, and never compute one again.

        Args:
            spent_s: the seconds it took; NaN if they were not measured.
            profiled_s: what it takes by the profile; NaN without one.

        Returns:
            Measured over profiled seconds; NaN if that says nothing.
        """
        if not profiled_s > 0 or profiled_s < self.overhead_s or math.isnan(spent_s):
            return math.nan
        slowdown = spent_s / profiled_s
        self.slowdown += _SMOOTHING * (slowdown - self.slowdown)
        return slowdown

    def seconds(self, profiled_s: float, slowdown: float = math.nan) -> float:
        """What profiled seconds take; 0 where there is no profile.

        Args:
            profiled_s: the profiled seconds.
            slowdown: the slowdown to go by; NaN: the present one.
        """
        if math.isnan(profiled_s):
            return 0.0
        return profiled_s * (self.slowdown if math.isnan(slowdown) else slowdown)

    def deepest_alone(
        self, programs: Sequence[HeadProgram], deadline_s: float, margin_s: float
    ) -> HeadProgram:
        """What to do without a plan: the deepest exit that the car keeps up with by itself.

        Args:
            programs: the car-only program of each exit, shallowest first.
            deadline_s: the deadline.
            margin_s: how long before it a frame should be finished.
        """
        interval_s = self.interval_s
        if math.isinf(interval_s):
            interval_s = deadline_s / _FRAMES_A_DEADLINE
        most_s = min(deadline_s - margin_s, interval_s)
        fitting = [p for p in programs if self.seconds(p.head_profiled_s) <= most_s]
        return (fitting or programs[:1])[-1]

    def wait_for_window_s(
        self, program: HeadProgram, deadline_s: float, margin_s: float, *, narrowed: bool = False
    ) -> float:
        """How long a frame that finds the window full waits before the car finishes it itself.

        Not at all if the car keeps up with the camera by itself. Otherwise until the planned exit
        just fits, or a newer frame should have come, which takes its place, if that is later:
        finished at a quicker exit it would hold up those that could be sent meanwhile.

        A narrowed window can be full for longer than the plan has it. Then a car that keeps up at
        a shallower exit waits only as long as a newer frame finds it idle again.

        Args:
            program: the plan's.
            deadline_s: the deadline.
            margin_s: how long before it a frame should be finished.
            narrowed: whether late answers have narrowed the window.
        """
        head_s = self.seconds(program.head_profiled_s)
        finish_s = {e: self.seconds(s) for e, s in program.finish_profiled_s.items()}
        whole_s = head_s + finish_s.get(program.plan.exit_number, 0.0)
        if whole_s < self.interval_s:
            return 0.0
        left_s = deadline_s - margin_s
        quickest_s = head_s + min(finish_s.values(), default=0.0)
        if narrowed and quickest_s < self.interval_s:
            return max(0.0, min(left_s - whole_s, self.interval_s - quickest_s))
        newer_s = _NEWER_INTERVALS * self.interval_s
        return max(0.0, left_s - whole_s, min(newer_s, left_s - quickest_s))

    def fallback_exit(
        self, finish_profiled_s: Mapping[int, float], left_s: float, others: int
    ) -> int:
        """The exit at which the car finishes a frame that the edge did not answer.

        The deepest that fits what is left of the deadline, and the frame's share of the car's
        time: other frames that fall back want it too, and the next from the camera comes soon.
        Were this one computed deeper than the car can keep up with, it would make another late or
        displaced. If nothing fits, the quickest is the least late.

        Args:
            finish_profiled_s: profiled seconds from here to each exit.
            left_s: time until the deadline.
            others: how many other frames want the car before that.
        """
        left_s = min(left_s, _UTILISATION * self.interval_s / (1 + others))
        fitting = [e for e, s in finish_profiled_s.items() if self.seconds(s) <= left_s]
        if fitting:
            return max(fitting)
        return min(finish_profiled_s, key=lambda e: (finish_profiled_s[e], e))


class SharePace:
    """Sends no faster than the edge says that the car's share of it allows.

    By the generic cell rate algorithm (ITU-T I.371, virtual scheduling) with a tolerance of one
    interval, so that a camera whose frames do not come in step still uses the whole share.
    """

    def __init__(self) -> None:
        self._interval_s = 0.0
        self._due_s = -math.inf
        self._heard_s = -math.inf

    @property
    def is_limited(self) -> bool:
        """Whether the edge's last answer set a limit."""
        return self._interval_s > 0

    def on_answer(self, now_s: float, interval_s: float) -> None:
        """The edge answered: so far apart frames may be sent; 0, or what makes no sense: any."""
        self._interval_s = interval_s if 0 < interval_s <= _MOST_INTERVAL_S else 0.0
        self._heard_s = now_s
        # A longer interval that held before must not hold up frames for longer than this one.
        self._due_s = min(self._due_s, now_s + 2 * self._interval_s)

    def on_sent(self, now_s: float) -> None:
        """A frame was sent."""
        self._due_s = max(now_s, self._due_s) + self._interval_s

    def opens_s(self, now_s: float) -> float:
        """From when on the next frame may be sent; minus infinity without a limit.

        What the edge said some intervals ago does not hold any more: it may have gone, or be idle.
        """
        holds_s = _LEAST_HOLDS_S + _HOLDS_INTERVALS * self._interval_s
        if self._interval_s == 0 or now_s > self._heard_s + holds_s:
            return -math.inf
        return self._due_s - self._interval_s
