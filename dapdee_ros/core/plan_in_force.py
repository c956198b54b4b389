"""The plan that the head follows, while its manager sends heartbeats."""

from __future__ import annotations

import math

from dapdee_ros.core.head_events import PlanExpired, PlanHoldsAgain
from dapdee_ros.core.programs import HeadProgram


class PlanInForce:
    """The last plan, and its manager's last heartbeat; times in s, passed by the caller.

    Attributes:
        heard_s: time of the last plan or heartbeat; minus infinity before the first.
    """

    def __init__(self) -> None:
        self.heard_s = -math.inf
        self._planned: HeadProgram | None = None
        self._expired = False

    def on_plan(self, now_s: float, program: HeadProgram) -> None:
        """A plan arrived; it is in force from the next frame on."""
        self._planned, self.heard_s = program, now_s

    def on_manager(self, now_s: float) -> None:
        """A heartbeat: the plan stays in force, or is in force again."""
        if self._planned is not None:
            self.heard_s = now_s

    def at(self, now_s: float, timeout_s: float) -> HeadProgram | None:
        """The plan in force; None before the first, and after it has expired."""
        return self._planned if now_s - self.heard_s <= timeout_s else None

    def news(self, epoch: int, timeout_s: float) -> PlanExpired | PlanHoldsAgain | None:
        """The notice to log when a frame starts under the plan of an epoch, 0 for none.

        There is one notice when a plan has expired, and one when it is in force again.
        """
        expired = self._planned is not None and epoch == 0
        changed, self._expired = expired != self._expired, expired
        if not changed:
            return None
        return PlanExpired(timeout_s) if expired else PlanHoldsAgain(epoch)
