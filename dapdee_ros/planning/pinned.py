"""Plans that a person writes down: ``exit=4 boundary=stem codec=u8``."""

from __future__ import annotations

from dataclasses import dataclass

from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.plan import PlanKey

_KEYS = ("exit", "boundary", "codec", "gate", "threshold")
_FORM = (
    "expected words like 'exit=4 boundary=node,node codec=u8 gate=1 threshold=0.9'; without "
    "boundary the car finishes alone"
)


@dataclass(frozen=True)
class PinnedPlan:
    """What to hold on to, whatever the link does.

    Attributes:
        exit_number: exit that answers, 1 is the shallowest.
        boundary: tensors to send; empty: the car finishes alone.
        codec: how they are coded.
        gate: exit that may end a frame on the car, or None.
        gate_threshold: confidence from which it does, or None.
    """

    exit_number: int
    boundary: tuple[str, ...] = ()
    codec: str = "f32"
    gate: int | None = None
    gate_threshold: float | None = None

    @property
    def key(self) -> PlanKey:
        """What it does, as of any plan."""
        return (self.exit_number, self.boundary, self.codec, self.gate, self.gate_threshold)


def parse_pinned(text: str) -> PinnedPlan | None:
    """Read a pinned plan; an empty text means none.

    Raises:
        PlanningError: if it is not of that form. Whether it fits a model is checked elsewhere.
    """
    if not text.strip():
        return None
    values: dict[str, str] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals or key not in _KEYS or key in values:
            raise PlanningError(f"{word!r} is no part of a pinned plan: {_FORM}")
        values[key] = value
    try:
        return PinnedPlan(
            exit_number=int(values["exit"]),
            boundary=tuple(n for n in values.get("boundary", "").split(",") if n),
            codec=values.get("codec", "f32"),
            gate=int(values["gate"]) if "gate" in values else None,
            gate_threshold=float(values["threshold"]) if "threshold" in values else None,
        )
    except (KeyError, ValueError) as error:
        raise PlanningError(f"pinned plan {text!r}: {error}; {_FORM}") from error
