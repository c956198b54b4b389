"""Errors of planning requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dapdee_ros.planning.conditions import Breach


class PlanningError(ValueError):
    """An invalid planning request; the message says what was expected and what was given."""


class LinkError(PlanningError):
    """An impossible link state: a negative or NaN rate, a negative round trip."""


class LoadError(PlanningError):
    """An impossible load state: a slowdown that is not above 0, a score outside 0 to 1."""


class DeadlineError(PlanningError):
    """A deadline that is not a positive, finite number of seconds."""


class ObjectiveError(PlanningError):
    """An impossible objective: a negative weight, none above 0, a mode that names none."""


class ProfileError(PlanningError):
    """A device profile that is corrupt, has impossible times or belongs to another model."""


class TableError(PlanningError):
    """A candidate table that is corrupt, or cannot be built from its input."""


class NoPlanError(PlanningError):
    """No candidate satisfies the hard conditions (quality floor, raw input kept on the car)."""


class PolicyError(PlanningError):
    """A policy that is unknown, cannot be loaded or did not return a plan."""


class FleetError(PlanningError):
    """An impossible fleet: plans without numbers, an unknown server, a period as objective."""


class TooManyStatesError(FleetError):
    """A joint choice that is too large to be made exactly; ``price`` makes it."""


class ConditionError(PolicyError):
    """A plan that breaks hard conditions.

    Attributes:
        breaches: what it breaks.
    """

    def __init__(self, who: str, breaches: Sequence[Breach]) -> None:
        """Name the conditions in the message; ``who`` made the plan."""
        broken = "; ".join(f"{breach.condition}: {breach.why}" for breach in breaches)
        super().__init__(f"{who} breaks a hard condition: {broken}")
        self.breaches = tuple(breaches)
