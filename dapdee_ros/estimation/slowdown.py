"""How much slower a machine is now than when it was profiled."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dapdee_ros.estimation.log_filter import LogFilter


@dataclass(frozen=True)
class SlowdownSettings:
    """Parameters of ``SlowdownFilter``; ours.

    Attributes:
        noise: relative deviation of one frame's slowdown, 0.01 to 1.
        drift: relative change in one second, 0.01 to 1.
        change_floor: smallest relative change that may count as a step, 0.05 to 1.
        lowest: lower bound, 0.01 to 1.
        highest: upper bound, 1 to 1000: one stall must not make a side look dead.
        memory_s: seconds after which, with nothing measured, an e-th of the logarithm is left,
            above 0: a side that a plan leaves idle could otherwise never be found fast again.
    """

    noise: float = 0.15
    drift: float = 0.05
    change_floor: float = 0.2
    lowest: float = 0.1
    highest: float = 50.0
    memory_s: float = 10.0


class SlowdownFilter:
    """Measured over profiled seconds of the nodes that one side ran, followed over time.

    The slowdowns s_d and s_e of the cost model. A stall of one frame hardly changes it, while a
    competing process is recognised from the second frame on. Old measurements lose weight in favour
    of the profile.
    """

    def __init__(self, settings: SlowdownSettings | None = None) -> None:
        self.settings = settings or SlowdownSettings()
        self.forget()

    def forget(self) -> None:
        """Reset: there is another profile."""
        self._filter = LogFilter(self.settings.drift, self.settings.change_floor)

    def on_frame(self, now_s: float, slowdown: float) -> None:
        """A frame's ratio; values that are not finite and positive are ignored."""
        s = self.settings
        if math.isfinite(slowdown) and slowdown > 0:
            self._filter.follow(now_s, min(max(slowdown, s.lowest), s.highest), s.noise)

    def at(self, now_s: float) -> float:
        """The ratio as of now, 1 (as profiled) until something was measured."""
        if not self._filter.is_known:
            return 1.0
        age_s = max(0.0, self._filter.age_s(now_s))
        return self._filter.value ** math.exp(-age_s / self.settings.memory_s)

    @property
    def is_known(self) -> bool:
        """Whether anything was measured."""
        return self._filter.is_known


class IdleLoad:
    """How much more loaded a side has become since it last ran any of the network.

    Of a side that only converts and sends images no slowdown is measured. But what a frame costs it
    beside the network is, on every frame: if that doubles while the plan stays the same, something
    else has taken half of the machine. Only a rise counts; a side that has become faster is found
    out by ``SlowdownFilter``'s memory.
    """

    _FIRST = 5
    _NOISE = 0.3
    _LEAST_S = 2e-4

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Reset: the network was run, or there is another plan."""
        self._first_s: list[float] = []
        self._filter = LogFilter(drift=0.1, change_floor=0.3)

    def on_frame(self, now_s: float, overhead_s: float) -> None:
        """What a frame cost beside the network; too little to tell anything is ignored."""
        if not self._LEAST_S <= overhead_s < math.inf:
            return
        if len(self._first_s) < self._FIRST:
            self._first_s.append(overhead_s)
        else:
            self._filter.follow(now_s, overhead_s, self._NOISE)

    @property
    def ratio(self) -> float:
        """Now over the first frames, 1 or more; 1 until both are known."""
        if not self._filter.is_known:
            return 1.0
        reference_s = sorted(self._first_s)[self._FIRST // 2]
        return max(1.0, self._filter.value / reference_s)
