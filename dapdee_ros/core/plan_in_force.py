"""The plan that the head follows, for as long as whoever made it lives."""

from __future__ import annotations

import math

from dapdee_ros.core.head_events import PlanExpired, PlanHoldsAgain
from dapdee_ros.core.programs import HeadProgram


class PlanInForce:
    """The last plan, and when its manager was last heard; times in s, told by the caller.

    Attributes:
        heard_s: when a plan came or its manager was heard last; minus infinity before the first.
    """

    def __init__(self) -> None:
        self.heard_s = -math.inf
        self._planned: HeadProgram | None = None
        self._expired = False

    def on_plan(self, now_s: float, program: HeadProgram) -> None:
        """A plan came; it holds from the next frame on."""
        self._planned, self.heard_s = program, now_s

    def on_manager(self, now_s: float) -> None:
        """The manager was heard, so its plan holds on, or holds again."""
        if self._planned is not None:
            self.heard_s = now_s

    def at(self, now_s: float, timeout_s: float) -> HeadProgram | None:
        """The plan that holds now; None before the first, and once it has expired."""
        return self._planned if now_s - self.heard_s <= timeout_s else None

    def news(self, epoch: int, timeout_s: float) -> PlanExpired | PlanHoldsAgain | None:
        """What there is to say as a frame begins under the plan of an epoch, 0 for none.

        It is said once that a plan has expired, and once that it holds again.
        """
        expired = self._planned is not None and epoch == 0
        changed, self._expired = expired != self._expired, expired
        if not changed:
            return None
        return PlanExpired(timeout_s) if expired else PlanHoldsAgain(epoch)
