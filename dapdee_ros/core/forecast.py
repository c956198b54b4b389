"""What the plan in force is expected to take now, the waiting of its frames included.

A plan's price holds what one frame takes that nothing stands in the way of. Under load frames wait:
in the mailbox for the head, behind each other on the link and on the edge server, and on a car with
a small share of a processor for the time in which to send and to hear of the answer. That depends on
how many frames are under way and not on the plan, so it is no part of what plans are compared by. It
is part of what somebody is told who asks how long an image takes to its result.
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
"""Seconds for which a frame's waiting counts."""

NEWS = 0.05
"""Share of the last forecast by which another one has to differ to be told."""

_MOST_FRAMES = 64
_FEWEST_FRAMES = 3
_MOST_PLANS = 4

# When a result came and how long its frame had waited, in s, by whether it crossed the link: of a
# plan with a gate some do not.
_Waits = dict[bool, deque[tuple[float, float]]]


def _no_waits() -> _Waits:
    return {crossed: deque(maxlen=_MOST_FRAMES) for crossed in (False, True)}


class Forecast:
    """Learns from results how long frames wait beside what is in the price.

    The waiting of a frame is its latency less what it took car and edge server, and less the round
    trip and the time on air by the link's estimate. It is below 0 where probes waited longer than
    frames do. The median over the last frames counts: what one of them meets is a stall.
    """

    def __init__(self) -> None:
        self._told_s = math.nan
        # Of the last plans, the one in force at the end: two may take turns.
        self._of_plans: OrderedDict[PlanKey | None, _Waits] = OrderedDict({None: _no_waits()})

    def on_plan(self, plan: Plan) -> None:
        """A plan was told; what was learned holds for frames that are processed alike."""
        self._of_plans.setdefault(plan.key, _no_waits())
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
        waited_s = result.latency_s - result.head_s
        if crossed:
            on_link_s = link.rtt_s + 8 * result.sent_bytes / link.rate_bps
            waited_s -= on_link_s + result.tail_s
        if math.isfinite(waited_s):
            self._in_force[crossed].append((now_s, waited_s))

    def waiting_s(self, now_s: float, plan: Plan) -> float:
        """What a frame is expected to wait, in s, the mean over frames of which a gate ends some.

        0 while too few frames are known of; never so far below 0 that less than nothing were left
        of the link.
        """
        stays = plan.gate_share if plan.crossings else 1.0
        crosses = 1.0 - stays
        waiting_s = stays * self._median_s(now_s, False) if stays else 0.0
        if crosses:
            waiting_s += crosses * self._median_s(now_s, True)
        return max(waiting_s, -crosses * plan.transfer_s)

    def of(self, now_s: float, priced: Plan) -> Plan | None:
        """The plan as somebody should be told of it now; None if that is what was told last.

        Args:
            now_s: the time.
            priced: the plan in force, priced as of now.
        """
        latency_s = priced.expected_latency_s + self.waiting_s(now_s, priced)
        if not math.isfinite(latency_s) or abs(latency_s - self._told_s) <= NEWS * self._told_s:
            return None
        self._told_s = latency_s
        return replace(priced, expected_latency_s=latency_s)

    @property
    def _in_force(self) -> _Waits:
        return self._of_plans[next(reversed(self._of_plans))]

    def _median_s(self, now_s: float, crossed: bool) -> float:
        waits = self._in_force[crossed]
        while waits and waits[0][0] < now_s - MEMORY_S:
            waits.popleft()
        if len(waits) < _FEWEST_FRAMES:
            return 0.0
        return statistics.median(waited_s for _, waited_s in waits)
