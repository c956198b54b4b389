"""Messages in flight, and the round trip of an idle link."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from statistics import median

LEAST_SAMPLES = 3
"""At least this many round trips count, however old, so that a single one can't raise the floor."""

MOST_OUTSTANDING = 1024


class RoundTrips:
    """Recent round trips of small messages, minus the time of their own bytes.

    The minimum is the floor: queueing and scheduling only add to it. The median is the expected
    value, waiting included, and its distance from the floor shows how precisely these machines can
    measure times. Only recent ones count, because a handover may lengthen the path; those known to
    have queued behind a frame are excluded while there are others.

    Attributes:
        is_makeshift: there is only one that the car's own waiting has made longer.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, float, float]] = deque()
        self.is_makeshift = False

    @property
    def is_known(self) -> bool:
        """Whether there has been a round trip."""
        return bool(self._samples)

    @property
    def quickest_s(self) -> float:
        """The shortest, the time of its own bytes included; infinite before the first."""
        return min((rtt for _, rtt, _ in self._samples), default=math.inf)

    def add(self, now_s: float, rtt_s: float, bits: float, waited: bool = False) -> None:
        """A message of so many bits on the wire came back after ``rtt_s``.

        Args:
            now_s: when.
            rtt_s: how long it took.
            bits: its size.
            waited: part of that was the car's own waiting: it counts until the first without.
        """
        if self.is_makeshift:
            self._samples.clear()
        self.is_makeshift = waited
        self._samples.append((now_s, rtt_s, bits))
        while len(self._samples) > LEAST_SAMPLES and self._samples[0][0] < now_s - self._window_s:
            self._samples.popleft()

    def discard(self, from_s: float, to_s: float) -> None:
        """Messages sent between these times had to wait for a large one, or were quick anyway."""
        clean = [s for s in self._samples if not from_s <= s[0] - s[1] < to_s]
        if clean:
            quickest_s = min(rtt for _, rtt, _ in clean)
            self._samples = deque(
                s for s in self._samples if s[1] < quickest_s or not from_s <= s[0] - s[1] < to_s
            )

    def cap(self, rtt_s: float) -> None:
        """A message that took this long shows that the floor is no higher."""
        self._samples = deque((t, min(r, rtt_s), b) for t, r, b in self._samples)

    def floor_s(self, rate_bps: float) -> float:
        """The smallest, in seconds, if the link has that rate; NaN before the first round trip."""
        return min(self._bare(rate_bps), default=math.nan)

    def usual_s(self, rate_bps: float) -> float:
        """The median, in seconds, if the link has that rate; NaN before the first round trip."""
        bare = self._bare(rate_bps)
        return median(bare) if bare else math.nan

    def _bare(self, rate_bps: float) -> list[float]:
        per_bit_s = 1 / rate_bps if rate_bps > 0 else 0.0
        return [max(0.0, rtt - bits * per_bit_s) for _, rtt, bits in self._samples]


@dataclass
class Sent:
    """A message that waits for its answer.

    Attributes:
        sent_s: when it was sent.
        n_bytes: its size on the wire.
        given_up: its loss has already been counted.
    """

    sent_s: float
    n_bytes: int
    given_up: bool = False


class Outstanding:
    """Messages without an answer, oldest first.

    The link preserves order: a message sent before one that has arrived is no longer on the link;
    it was lost or is being computed. ``waiting`` therefore only covers the rest.
    """

    def __init__(self) -> None:
        self._sent: OrderedDict[Hashable, Sent] = OrderedDict()
        self._passed_s = -math.inf

    def add(self, key: Hashable, sent_s: float, n_bytes: int) -> None:
        """Remember a message; a key that is used again replaces the old message."""
        self._sent.pop(key, None)
        self._sent[key] = Sent(sent_s, n_bytes)
        if len(self._sent) > MOST_OUTSTANDING:
            self._sent.popitem(last=False)

    def give_up(self, key: Hashable | None, sent_s: float, n_bytes: int) -> None:
        """Record that a message's loss has been counted, even of an unknown one."""
        if key is None:
            key = ("given up", sent_s)
        if key not in self._sent:
            self.add(key, sent_s, n_bytes)
        self._sent[key].given_up = True

    def answer(self, key: Hashable | None, sent_s: float) -> bool:
        """A message sent at ``sent_s`` has arrived; returns whether it had been given up."""
        known = self._sent.pop(key, None) if key is not None else None
        self._passed_s = max(self._passed_s, sent_s)
        return known is not None and known.given_up

    def expire(self, before_s: float) -> int:
        """Forget what was sent before then; returns how many losses had not been counted."""
        old = [key for key, sent in self._sent.items() if sent.sent_s < before_s]
        return sum(not self._sent.pop(key).given_up for key in old)

    def waiting(self) -> list[Sent]:
        """What may still be on the link, oldest first."""
        return [sent for sent in self._sent.values() if sent.sent_s > self._passed_s]
