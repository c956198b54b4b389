"""What a frame costs a site beside the network and its codecs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from dapdee_ros.planning.errors import ProfileError

MOST_FIXED_S = 60.0
MOST_S_PER_BYTE = 1e-3
"""Upper bounds of what can be believed: no frame and no byte costs that much."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """Seconds of one site per frame, as it is now: converting, packing, sending, receiving.

    A slowdown does not multiply it: it is measured on frames, and follows the site's load itself.

    Attributes:
        frame_s: for every frame that reaches the site.
        crossing_s: in addition for every hop by which the frame comes or leaves.
        s_per_byte: in addition for every byte that comes or leaves.

    Raises:
        ProfileError: at construction, for a value that is negative, not finite, or implausible.
    """

    frame_s: float = 0.0
    crossing_s: float = 0.0
    s_per_byte: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = MOST_S_PER_BYTE if field.name == "s_per_byte" else MOST_FIXED_S
            if not 0 <= value <= most:  # a NaN is not between them either
                raise ProfileError(f"overhead {field.name} is {value}; expected 0 to {most:g}")

    @property
    def any(self) -> bool:
        """Whether there is any."""
        return bool(self.frame_s or self.crossing_s or self.s_per_byte)

    def seconds(
        self, crossed_bytes: Sequence[float] = (), frame_share: float = 1.0, share: float = 1.0
    ) -> float:
        """What a frame costs, in s, or the mean over frames of which a gate ends some.

        Args:
            crossed_bytes: coded bytes over each hop by which it comes or leaves; in the mean over
                the frames, those that do not cross it counted as 0.
            frame_share: share of the frames that reach the site.
            share: share of the frames that cross the hops.

        >>> Overhead(0.002, 0.001, 1e-8).seconds((100_000,))
        0.004
        """
        total_s = frame_share * self.frame_s
        for carried in crossed_bytes:
            total_s += share * self.crossing_s + self.s_per_byte * carried
        return total_s


NO_OVERHEAD = Overhead()
"""Nothing is known, or nothing counts."""
