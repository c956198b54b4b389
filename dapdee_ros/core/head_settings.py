"""What of the head's behaviour can be set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from dapdee_ros.core.frames import FramePlan
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.core.settings import check_settings, setting, setting_like


@dataclass(frozen=True)
class HeadSettings:
    """How the head keeps deadlines.

    Raises:
        SettingError: at construction, for an invalid value.
    """

    deadline_s: float = setting_like(
        PlanningSettings,
        "deadline_s",
        "Seconds from receiving an image to its result, while there is no plan: a plan has the "
        "manager's. If the edge has not answered in time the car finishes the "
        "frame itself.",
        note="seconds from an image to its result while there is no plan; a plan has the manager's",
    )
    max_in_flight: int = setting_like(
        PlanningSettings,
        "max_in_flight",
        "Most frames in flight between head and edge, while there is no plan: a plan has the "
        "manager's.",
        note="most frames between head and edge, likewise",
    )
    margin_s: float = setting(
        0.015,
        "Least time before the deadline at which a fallback should be finished. The margin grows "
        "if earlier fallbacks were late.",
        unit="s",
        bounds=(0.0, 1.0),
        live=True,
        note="least time before the deadline at which a fallback should be finished; the rest is "
        "learned",
    )
    plan_timeout_s: float = setting(
        5.0,
        "Seconds for which a plan stays in force after its manager's last heartbeat (one per "
        "second). Then the car works alone until the next heartbeat.",
        unit="s",
        bounds=(2.0, 3600.0),
        live=True,
        note="seconds without a heartbeat from the manager after which its plan expires",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def under(self, plan: FramePlan) -> HeadSettings:
        """The settings for frames of a plan: deadline and window are the plan's."""
        return _with(
            self,
            self.deadline_s if plan.deadline_s is None else plan.deadline_s,
            self.max_in_flight if plan.max_in_flight is None else plan.max_in_flight,
        )


# Asked at every event, while plans that differ in these are few; checking takes 30 microseconds.
@lru_cache(maxsize=16)
def _with(settings: HeadSettings, deadline_s: float, max_in_flight: int) -> HeadSettings:
    return replace(settings, deadline_s=deadline_s, max_in_flight=max_in_flight)
