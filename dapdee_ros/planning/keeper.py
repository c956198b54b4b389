"""When to change to a better plan: not for every fluctuation, but at once if necessary."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from dapdee_ros.planning.plan import Plan


def favour_of(margin: float) -> float:
    """By what share of the objective a favourite server may be worse and still be used.

    Half of what another one has to save to be left for: between the two nobody moves.

    Args:
        margin: share of the objective that a new plan has to save.
    """
    return margin / 2


def worth_sending(plan: Plan, alone: Plan, margin: float) -> bool:
    """Whether a plan that needs the link gains enough over the best that needs none.

    A prediction over a radio link is less certain than one for the car alone, and sending costs
    energy. So a plan that saves less than the margin is not worth it.

    Args:
        plan: the plan that sends.
        alone: the best plan of the car alone, for the same mode.
        margin: share of the objective that has to be saved, 0 to 1.
    """
    if alone.late or alone.quality < plan.quality - 1e-9:
        return True
    return plan.objective_s < (1 - margin) * alone.objective_s


# What saves this share of the objective waits for the whole dwell, twice as much for half of it: a
# fluctuation costs little compared with waiting.
_PATIENT_SAVING = 0.2


class Cause(enum.Enum):
    """Why a plan is replaced, with the text for a log."""

    FIRST = "first plan"
    OUTDATED = "the same plan, predicted anew"
    IMPOSSIBLE = "the plan in force cannot be kept"
    RELEASED = "what is wished has changed"
    LATE = "the plan in force would miss the deadline"
    LESS_BEHIND = "no plan is in time, this one is closer"
    POLICY = "the policy's choice"
    FAVOURITE = "the car's favourite server is as good"
    OBJECTIVE = "mode {objective}"
    QUALITY = "{quality_name} {new:.3f} instead of {current:.3f} fits now"
    SAVING = "saves {saving:.0%} of the {objective_words}"


@dataclass(frozen=True)
class Change:
    """A plan that replaces the one in force.

    Attributes:
        cause: why.
        plan: the new plan.
        current: the one in force as it would be priced now; None if there is none to be priced.
    """

    cause: Cause
    plan: Plan
    current: Plan | None = None

    @property
    def saving(self) -> float:
        """Share of the objective that it saves."""
        current_s = self.current.objective_s if self.current is not None else 0.0
        return 1 - self.plan.objective_s / current_s if current_s > 0 else 0.0

    def words(self, quality_name: str = "quality") -> str:
        """The reason as text.

        Args:
            quality_name: the task's name for its quality.
        """
        return self.cause.value.format(
            objective=self.plan.objective,
            objective_words=self.plan.objective.words,
            quality_name=quality_name,
            new=self.plan.quality,
            current=self.current.quality if self.current is not None else math.nan,
            saving=self.saving,
        )


@dataclass(frozen=True)
class KeeperSettings:
    """The hysteresis of plan changes.

    Attributes:
        margin: share of the objective that a new plan has to save, 0 to 1.
        min_dwell_s: minimum seconds that a plan stays, unless it is not allowed any more; less
            where the new one saves more than a fifth.
        quality_margin: quality that a new plan has to gain if that is what it gains, 0 to 1.
    """

    margin: float = 0.1
    min_dwell_s: float = 0.25
    quality_margin: float = 0.0


class PlanKeeper:
    """Holds the plan in force and decides when to replace it. The caller passes the time.

    Attributes:
        plan: the plan in force; None before the first.
        reconsider_s: when to ask again, whether or not there is news: the last plan considered
            would have been changed to, but for the dwell. Infinity: no need to.
    """

    def __init__(self, settings: KeeperSettings | None = None) -> None:
        self.settings = settings or KeeperSettings()
        self.plan: Plan | None = None
        self.reconsider_s = math.inf
        self._since_s = -math.inf
        self._released = False

    def consider(
        self,
        now_s: float,
        new: Plan,
        current: Plan | None,
        *,
        follow: bool = False,
        favourite: bool = False,
    ) -> Change | None:
        """Judge a new plan against the one in force.

        Args:
            now_s: the time.
            new: what would be decided now.
            current: the plan in force as it would be priced now; None if there is none, or if it
                cannot be kept (its link is gone, it does not fit any more).
            follow: take any other plan after the dwell, better or not: for policies with their own
                criteria.
            favourite: the new plan's server is preferred to that of the one in force, so that it
                need not gain anything, and may lose what ``favour_of`` the margin is: cars that had
                to leave a server come back to it.

        Returns:
            The change, from which on the new plan is the one in force; None to stay.
        """
        cause, dwell_s = self._cause(new, current, follow, favourite)
        self._released = False
        self.reconsider_s = math.inf
        if cause is None:
            return None
        if now_s < self._since_s + dwell_s:
            self.reconsider_s = self._since_s + dwell_s
            return None
        self.plan = new
        self._since_s = now_s
        return Change(cause, new, current)

    def release(self) -> None:
        """Let the next plan replace it at once if it differs: the requirements have changed."""
        self._since_s = -math.inf
        self._released = True

    def _cause(
        self, new: Plan, current: Plan | None, follow: bool, favourite: bool
    ) -> tuple[Cause | None, float]:
        """Why to change, and how long the plan in force has to have stood for that."""
        if self.plan is None:
            return Cause.FIRST, 0.0
        dwell_s = self.settings.min_dwell_s
        if (new.key, new.server) == (self.plan.key, self.plan.server):
            # The head waits for the edge's answers according to the prediction.
            outdated = _is_outdated(self.plan, new)
            return Cause.OUTDATED if outdated else None, dwell_s
        if current is None:
            return Cause.IMPOSSIBLE, 0.0
        if self._released:
            return Cause.RELEASED, 0.0
        if current.late and not new.late:
            return Cause.LATE, 0.0
        if follow:
            return Cause.POLICY, dwell_s
        if new.objective != self.plan.objective:
            return Cause.OBJECTIVE, dwell_s
        if new.late and not current.late:
            return None, 0.0
        if new.late:
            # What quality they would have counts for nothing where frames are lost for it.
            return (Cause.LESS_BEHIND, dwell_s) if self._is_closer(new, current) else (None, 0.0)
        if new.quality > current.quality + self.settings.quality_margin + 1e-9 and not new.late:
            return Cause.QUALITY, dwell_s
        if current.gate is None and new.quality < current.quality - self.settings.quality_margin:
            # Who decides gives up so much only for what is out of bounds, and the one in force is
            # given a little room there, so that two plans do not take turns at the bound.
            return None, 0.0
        saving = Change(Cause.SAVING, new, current).saving
        if favourite and saving >= -favour_of(self.settings.margin):
            return Cause.FAVOURITE, dwell_s
        if saving > self.settings.margin:
            return Cause.SAVING, dwell_s * min(1.0, _PATIENT_SAVING / saving)
        return None, 0.0

    def _is_closer(self, new: Plan, current: Plan) -> bool:
        """Whether the first of two plans that are late loses clearly fewer frames, or less time."""
        more = 1 + self.settings.margin
        if current.period_s > more * new.period_s:
            return True
        return (
            new.period_s <= more * current.period_s
            and current.expected_latency_s > more * new.expected_latency_s
        )


def _is_outdated(before: Plan, now: Plan) -> bool:
    """Whether the edge's answer is now expected in less than half, or more than twice, the time."""
    remote_s = now.transfer_s + now.edge_s
    if not now.boundary or not math.isfinite(remote_s):
        return False
    return not 0.5 <= (before.transfer_s + before.edge_s) / remote_s <= 2.0
