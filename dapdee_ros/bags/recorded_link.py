"""The link from a recording."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from dapdee_ros.bags.errors import BagError
from dapdee_ros.bags.message_types import LINK_QUALITY
from dapdee_ros.bags.reader import Bag
from dapdee_ros.simulation.link_trace import LinkTrace, step_link


@dataclass(frozen=True)
class RecordedLink:
    """A link read from a bag.

    Attributes:
        trace: capacity over time; time 0 is the requested one.
        rtt_s: median of the round trips, None if none was measured.
    """

    trace: LinkTrace
    rtt_s: float | None


def read_link(bag: Bag, asked: str | None, zero_ns: int) -> RecordedLink:
    """The link from a bag's LinkQuality messages, each valid until the next.

    While the edge did not answer the rate is 0; before the first known rate, that rate is used.

    Args:
        bag: the bag.
        asked: the topic; None for the only one.
        zero_ns: the recording time that becomes time 0, in ns.

    Raises:
        BagError: if there is no such topic, more than one to choose from, or no rate in it.
    """
    topic = bag.choose((LINK_QUALITY,), asked, "--link bag:TOPIC", "link quality topic")
    steps: list[tuple[float, float]] = []
    round_trips: list[float] = []
    for _topic, log_ns, message in bag.messages(topic):
        if math.isfinite(message.rtt_s):
            round_trips.append(message.rtt_s)
        if not message.connected:
            # Before the first answer it is simply unknown.
            if steps:
                steps.append(((log_ns - zero_ns) / 1e9, 0.0))
        elif math.isfinite(message.uplink_bps):
            steps.append(((log_ns - zero_ns) / 1e9, max(0.0, message.uplink_bps)))
    if not steps:
        raise BagError(
            f"topic {topic.name} of {bag.path} never has a rate ({topic.count} messages, all "
            "unknown or without connection): give --link a rate or a trace"
        )
    return RecordedLink(
        step_link(_from_zero(steps), name=f"{bag.path.name}:{topic.name}"),
        statistics.median(round_trips) if round_trips else None,
    )


def _from_zero(steps: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The steps from time 0 on, the first starting there; of equal times the last counts."""
    before = [rate for at_s, rate in steps if at_s <= 0]
    first = before[-1] if before else steps[0][1]
    later = {at_s: rate for at_s, rate in steps if at_s > 0}
    return [(0.0, first), *sorted(later.items())]
