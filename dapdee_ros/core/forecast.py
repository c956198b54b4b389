"""What the plan in force is expected to take now, the waiting of its frames included.

A plan's price holds what one frame takes that nothing stands in the way of. Under load frames
wait: in the mailbox for the head, behind each other on the link and on the edge server, and on a
car with a small share of a processor for the time in which to send and to hear of the answer. That
depends on how many frames are under way and not on the plan, so it is no part of what plans are
compared by. It is part of what somebody is told who asks how long an image takes to its result.
"""

from __future__ import annotations

import math
import statistics
from collections import OrderedDict, deque
from dataclasses import replace

from dapdee_ros.core.frames import Place
from dapdee_ros.core.manager_events import ResultCame
from dapdee_ros.planning.plan import Plan, PlanKey
from dapdee_ros.planning.sites import Hop

MEMORY_S = 5.0
"""Seconds for which a frame counts."""

NEWS = 0.05
"""Share of the last forecast by which another one has to differ to be told."""

_MOST_FRAMES = 64
_FEWEST_FRAMES = 3
_MOST_PLANS = 4

# When a result came and what its frame took beside the link, in s, by whether it crossed the link:
# of a plan with a gate some do not.
_Frames = dict[bool, deque[tuple[float, float]]]


def _no_frames() -> _Frames:
    return {crossed: deque(maxlen=_MOST_FRAMES) for crossed in (False, True)}


class Forecast:
    """Learns from results what frames take beside the link, and adds the link as it is now.

    Beside the link is a frame's latency less the round trip and the time on air by the link's
    estimate of then. So a forecast follows the link at once, and everything else, all waiting
    included, by the median over the last frames. Head, waiting and tail are not added up from
    estimates of their own: where the window is full a frame whose head took long waits less in
    flight, by Little's law, and medians and means of such parts do not add up to the whole.
    """

    def __init__(self) -> None:
        self._told_s = math.nan
        # Of the last plans, the one in force at the end: two may take turns.
        self._of_plans: OrderedDict[PlanKey | None, _Frames] = OrderedDict({None: _no_frames()})

    def on_plan(self, plan: Plan) -> None:
        """A plan was told; what was learned holds for frames that are processed alike."""
        self._of_plans.setdefault(plan.key, _no_frames())
        self._of_plans.move_to_end(plan.key)
        while len(self._of_plans) > _MOST_PLANS:
            self._of_plans.popitem(last=False)
        self._told_s = plan.expected_latency_s

    def on_result(self, now_s: float, result: ResultCame, link: Hop) -> None:
        """A frame of the plan in force ended with a result; one that fell back says nothing.

        Args:
            now_s: when.
            result: the result.
            link: the link as it is estimated now.
        """
        crossed = result.place is Place.EDGE
        if result.place is Place.CAR_FALLBACK or (crossed and not link.usable):
            return
        beside_s = result.latency_s
        if crossed:
            beside_s -= link.rtt_s + 8 * result.sent_bytes / link.rate_bps
        if math.isfinite(beside_s):
            self._in_force[crossed].append((now_s, beside_s))

    def latency_s(self, now_s: float, priced: Plan) -> float:
        """Seconds from image to result, the mean over frames of which a gate ends some.

        By the price while too few frames are known of.

        Args:
            now_s: the time.
            priced: the plan in force, priced as of now.
        """
        stays = priced.gate_share if priced.crossings else 1.0
        latency_s = stays * self._median_s(now_s, False) if stays else 0.0
        if stays < 1:
            latency_s += (1 - stays) * (self._median_s(now_s, True) + priced.transfer_s)
        # Where probes waited longer than frames, and do so no longer, too little may be left.
        return latency_s if 0 < latency_s < math.inf else priced.expected_latency_s

    def of(self, now_s: float, priced: Plan) -> Plan | None:
        """The plan as somebody should be told of it now; None if that is what was told last.

        Args:
            now_s: the time.
            priced: the plan in force, priced as of now.
        """
        latency_s = self.latency_s(now_s, priced)
        if not math.isfinite(latency_s) or abs(latency_s - self._told_s) <= NEWS * self._told_s:
            return None
        self._told_s = latency_s
        return replace(priced, expected_latency_s=latency_s)

    @property
    def _in_force(self) -> _Frames:
        return self._of_plans[next(reversed(self._of_plans))]

    def _median_s(self, now_s: float, crossed: bool) -> float:
        """What the last frames took beside the link; NaN if there are too few."""
        frames = self._in_force[crossed]
        while frames and frames[0][0] < now_s - MEMORY_S:
            frames.popleft()
        if len(frames) < _FEWEST_FRAMES:
            return math.nan
        return statistics.median(beside_s for _, beside_s in frames)
