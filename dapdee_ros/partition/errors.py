"""What can be wrong with a planning request."""


class PlanningError(ValueError):
    """A planning request that makes no sense; the message says what was expected and what came."""


class LinkError(PlanningError):
    """A link state that cannot be: a negative or NaN rate, a negative round trip."""


class LoadError(PlanningError):
    """A load state that cannot be: a slowdown that is not above 0, a score outside 0 to 1."""


class DeadlineError(PlanningError):
    """A deadline that is not a positive, finite number of seconds."""


class ProfileError(PlanningError):
    """A device profile that is torn, holds impossible times or belongs to another model."""


class TableError(PlanningError):
    """A candidate table that is torn, or cannot be built from what was given."""


class NoPlanError(PlanningError):
    """No candidate satisfies the hard conditions (accuracy floor, raw input kept on the car)."""


class PolicyError(PlanningError):
    """A policy that is unknown, cannot be loaded or did not return a plan."""
