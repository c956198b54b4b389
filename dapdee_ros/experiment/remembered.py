"""A policy that is not asked twice for nearly the same: minimum cuts take their time."""

from __future__ import annotations

import math

from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Policy, Situation, traits_of

_RATE_STEP = 0.02
_RTT_STEP_S = 0.001
_SLOWDOWN_STEP = 0.02
_OVERHEAD_STEP_S = 0.0002
_BYTES = 50_000


class Remembered:
    """Asks a policy once for rates and slowdowns within 2 % and round trips within 1 ms.

    Over a drive of a quarter of an hour a policy is asked thousands of times, and some take
    milliseconds to minutes for an answer.
    """

    def __init__(self, policy: Policy) -> None:
        """Remember what this policy says."""
        self._policy = policy
        self._plans: dict[tuple[object, ...], Plan] = {}
        self.ignores_overheads = traits_of(policy).ignores_overheads

    def plan(self, situation: Situation) -> Plan:
        """What the policy said to the first situation like this one."""
        key = (
            tuple(
                (
                    _step(hop.rate_bps, _RATE_STEP) if hop.usable else None,
                    round(hop.rtt_s / _RTT_STEP_S),
                )
                for hop in situation.hops
            ),
            tuple(_step(site.slowdown, _SLOWDOWN_STEP) for site in situation.sites),
            tuple(
                round(second / _OVERHEAD_STEP_S)
                for site in situation.sites
                for second in (site.overhead.seconds(), site.overhead.seconds((_BYTES,)))
            ),
            situation.deadline_s,
            situation.objective,
        )
        if key not in self._plans:
            self._plans[key] = self._policy.plan(situation)
        return self._plans[key]


def _step(value: float, step: float) -> int:
    return round(math.log(value) / math.log1p(step))
