"""How long before a deadline a frame should be finished, learned from how late others were."""

from __future__ import annotations

import math
from collections import deque

_QUANTILE = 0.995
_REMEMBERED = 400
"""Of so many, one worse than the quantile is expected late in 200: well under one in a hundred."""

_REMEMBERED_S = 120.0
_MOST_SHARE = 1 / 3
"""Most of a deadline that is kept back: a machine that stalls for longer cannot be helped so."""


class LearnedMargin:
    """A high quantile of how much later than planned the car's own finishes were of late.

    Between the time at which the car should begin to finish a frame and its result lie the wake-up
    of a thread, perhaps another frame that is in work, and a computation that others on the machine
    stretch. None of these is known beforehand, but on one machine they repeat. So what the worst of
    the last finishes needed beyond the plan is kept back for the next ones. Told the time by its
    caller, in s.
    """

    def __init__(self) -> None:
        self._overruns: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)

    def on_finish(self, now_s: float, planned_s: float) -> None:
        """A frame was finished on the car now; it should have been at ``planned_s``."""
        self._overruns.append((now_s, now_s - planned_s))

    def margin_s(self, now_s: float, least_s: float, deadline_s: float) -> float:
        """What to keep back of a deadline.

        Args:
            now_s: the time.
            least_s: never less than this.
            deadline_s: the deadline; of it never more than a third, unless ``least_s`` is more.
        """
        overruns = self._overruns
        while overruns and now_s - overruns[0][0] > _REMEMBERED_S:
            overruns.popleft()
        if not overruns:
            return least_s
        ordered = sorted(overrun_s for _, overrun_s in overruns)
        learned_s = ordered[math.ceil(_QUANTILE * len(ordered)) - 1]
        return max(least_s, min(learned_s, _MOST_SHARE * deadline_s))
