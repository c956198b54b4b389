"""Uplink capacity over time: fixed rates, steps, a synthetic drive, Mahimahi's trace files."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FIXED_RATES_BPS = {"cat1": 0.13e6, "3g": 1.1e6, "4g": 5.85e6, "wifi": 18.88e6}
"""Uplink rates by name, those that the field's papers use."""

MAHIMAHI_PACKET_BYTES = 1500
"""What one line of a Mahimahi trace delivers."""

_NOTHING_BITS = 1e-3  # far below a bit, far above the rounding of sums of 1e12 bits


class LinkTraceError(ValueError):
    """An invalid description or file of a link; the message says why."""


@dataclass(frozen=True, eq=False)
class LinkTrace:
    """Piecewise constant uplink capacity, either wrapping around or holding its last rate.

    Attributes:
        edges_s: float64 ``(n,)``, the times at which a piece begins, first 0, strictly rising.
        rates_bps: float64 ``(n,)``, the capacity from that time on, at least 0.
        period_s: the trace starts over after this long; ``inf`` holds the last rate for ever.
        name: its display name.
        rate_window_s: ``rate_bps`` averages over this long around its moment (0: the piece's own
            rate). Packet traces need it: within a millisecond a link has a packet or has none.

    Raises:
        LinkTraceError: at construction, if the pieces contradict the description above.
    """

    edges_s: NDArray[np.float64]
    rates_bps: NDArray[np.float64]
    period_s: float
    name: str
    rate_window_s: float = 0.0
    _bits_at_edge: NDArray[np.float64] = field(init=False, repr=False)
    # The same once more: one number is found in a list ten times as fast as in an array.
    _edges: list[float] = field(init=False, repr=False)
    _rates: list[float] = field(init=False, repr=False)
    _bits: list[float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        edges = np.asarray(self.edges_s, np.float64)
        rates = np.asarray(self.rates_bps, np.float64)
        if edges.ndim != 1 or edges.shape != rates.shape or not len(edges):
            raise LinkTraceError(f"{len(edges)} piece starts and {len(rates)} rates don't pair up")
        if edges[0] != 0 or not np.all(np.diff(edges) > 0) or not math.isfinite(edges[-1]):
            raise LinkTraceError("the pieces of a link must start at 0 s and follow in time")
        if not (np.all(np.isfinite(rates)) and np.all(rates >= 0)):
            raise LinkTraceError("every rate of a link must be a finite number of at least 0")
        if not self.period_s > edges[-1]:
            raise LinkTraceError(
                f"a link cannot start over after {self.period_s:g} s when its last piece begins "
                f"at {edges[-1]:g} s"
            )
        bits = np.concatenate([[0.0], np.cumsum(np.diff(edges) * rates[:-1])])
        object.__setattr__(self, "edges_s", edges)
        object.__setattr__(self, "rates_bps", rates)
        object.__setattr__(self, "_bits_at_edge", bits)
        object.__setattr__(self, "_edges", edges.tolist())
        object.__setattr__(self, "_rates", rates.tolist())
        object.__setattr__(self, "_bits", bits.tolist())

    @property
    def duration_s(self) -> float:
        """Time after which the trace starts over; ``inf`` if it never does."""
        return self.period_s

    @property
    def _period_bits(self) -> float:
        return self._bits[-1] + (self.period_s - self._edges[-1]) * self._rates[-1]

    def capacity_bits(self, until_s: float) -> float:
        """Bits that the link can carry from time 0 until ``until_s``.

        Raises:
            LinkTraceError: if the time is negative or not finite.
        """
        if not 0 <= until_s < math.inf:
            raise LinkTraceError(f"a link's time starts at 0 s, asked for {until_s} s")
        rounds, within = divmod(until_s, self.period_s)
        piece = bisect_right(self._edges, within) - 1
        bits = self._bits[piece] + (within - self._edges[piece]) * self._rates[piece]
        return bits + (rounds * self._period_bits if rounds else 0.0)

    def mean_bps(self, start_s: float, end_s: float) -> float:
        """Mean capacity between two times."""
        return (self.capacity_bits(end_s) - self.capacity_bits(start_s)) / (end_s - start_s)

    def rate_bps(self, at_s: float) -> float:
        """Capacity at one moment (averaged over ``rate_window_s`` around it)."""
        if self.rate_window_s:
            start_s = max(0.0, at_s - self.rate_window_s / 2)
            return self.mean_bps(start_s, start_s + self.rate_window_s)
        if not 0 <= at_s < math.inf:
            raise LinkTraceError(f"a link's time starts at 0 s, asked for {at_s} s")
        within = at_s % self.period_s
        return self._rates[bisect_right(self._edges, within) - 1]

    def finish_time(self, start_s: float, n_bytes: float) -> float:
        """When ``n_bytes`` sent from ``start_s`` on have left; ``inf`` if they never will."""
        if n_bytes <= 0 or start_s == math.inf:
            return start_s
        target = self.capacity_bits(start_s) + 8.0 * n_bytes
        rounds = 0.0
        if math.isfinite(self.period_s):
            per_round = self._period_bits
            if per_round <= 0:
                return math.inf
            # The round in which the target is reached, not the one after it when it is met exactly.
            rounds = max(0.0, math.ceil(target / per_round) - 1.0)
            target -= rounds * per_round
        piece = max(bisect_left(self._bits, target) - 1, 0)
        rate = self._rates[piece]
        missing = target - self._bits[piece]
        if missing <= _NOTHING_BITS:
            missing = 0.0
        elif rate <= 0:
            return math.inf
        within = self._edges[piece] + (missing / rate if missing else 0.0)
        base = rounds * self.period_s if rounds else 0.0
        # Rounding in the sums above must not let bytes leave before they arrived.
        return max(start_s, base + within)

    def finish_times(
        self, start_s: NDArray[np.float64], n_bytes: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """``finish_time`` of many messages at once, each as if it were alone; ``(n,)`` each."""
        begin = np.where(np.isfinite(start_s), start_s, 0.0)
        if math.isfinite(self.period_s):
            rounds, within = np.divmod(begin, self.period_s)
            per_round = self._period_bits
        else:
            rounds, within, per_round = np.zeros_like(begin), begin, 0.0
        piece = np.searchsorted(self.edges_s, within, side="right") - 1
        target = self._bits_at_edge[piece] + (within - self.edges_s[piece]) * self.rates_bps[piece]
        target = target + rounds * per_round + 8.0 * n_bytes
        if math.isfinite(self.period_s) and per_round > 0:
            rounds = np.maximum(0.0, np.ceil(target / per_round) - 1.0)
            target = target - rounds * per_round
        piece = np.maximum(np.searchsorted(self._bits_at_edge, target, side="left") - 1, 0)
        rates = self.rates_bps[piece]
        missing = target - self._bits_at_edge[piece]
        missing = np.where(missing <= _NOTHING_BITS, 0.0, missing)
        with np.errstate(divide="ignore", invalid="ignore"):
            waited_s = np.where(missing > 0, missing / rates, 0.0)
        base = rounds * self.period_s if math.isfinite(self.period_s) else 0.0
        finish = np.maximum(begin, base + self.edges_s[piece] + waited_s)
        if math.isfinite(self.period_s) and per_round <= 0:
            finish = np.full_like(finish, np.inf)
        return np.where(n_bytes <= 0, start_s, np.where(np.isfinite(start_s), finish, np.inf))

    def describe(self) -> str:
        """One line for people: name, length, and the range of rates."""
        low, high = float(self.rates_bps.min()) / 1e6, float(self.rates_bps.max()) / 1e6
        if len(self.rates_bps) == 1:
            return f"{self.name}: {high:g} Mbit/s"
        if not math.isfinite(self.period_s):
            return f"{self.name}: {len(self.rates_bps)} steps, {low:g} to {high:g} Mbit/s"
        mean = self._period_bits / self.period_s / 1e6
        spread = "" if self.rate_window_s else f" ({low:.2f} to {high:.2f})"
        return f"{self.name}: {self.period_s:g} s repeating, mean {mean:.2f} Mbit/s{spread}"


def fixed_link(rate_bps: float, name: str = "") -> LinkTrace:
    """A link that always has the same capacity."""
    return LinkTrace(
        np.zeros(1), np.array([float(rate_bps)]), math.inf, name or f"{rate_bps / 1e6:g}mbit"
    )


def step_link(
    steps: list[tuple[float, float]], period_s: float = math.inf, name: str = "steps"
) -> LinkTrace:
    """A link that changes at given times.

    Args:
        steps: ``(from_s, rate_bps)`` in order of time, the first from 0 s on.
        period_s: start over after this long; by default the last rate holds.
        name: its display name.
    """
    edges = np.array([at_s for at_s, _ in steps], np.float64)
    rates = np.array([rate for _, rate in steps], np.float64)
    return LinkTrace(edges, rates, period_s, name)


def read_mahimahi(path: str | Path) -> LinkTrace:
    """Read a trace in Mahimahi's format.

    One line per opportunity to deliver a 1500-byte packet, as whole milliseconds from the start,
    never falling; the last line is also the length after which the trace starts over. A packet
    of millisecond ``m`` is spread here over the millisecond that ends at ``m``. Format: Mahimahi's
    ``mm-link`` (Netravali et al., USENIX ATC 2015).

    Raises:
        LinkTraceError: if the file is unreadable, empty or corrupt, with the line number.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise LinkTraceError(f"cannot read the link trace {path}: {error.strerror}") from error
    stamps_ms = np.empty(len(lines), np.int64)
    previous = 0
    for number, line in enumerate(lines, start=1):
        word = line.strip()
        if not word.isdigit() or len(word) > 12:
            shown = word[:40].decode("ascii", "backslashreplace")
            raise LinkTraceError(
                f"{path}, line {number}: expected whole milliseconds, got {shown!r}"
            )
        stamp = int(word)
        if stamp < previous:
            raise LinkTraceError(
                f"{path}, line {number}: {stamp} ms comes after {previous} ms; times must not "
                "fall (is the file torn?)"
            )
        stamps_ms[number - 1] = previous = stamp
    if not lines or previous == 0:
        raise LinkTraceError(
            f"{path}, line {len(lines)}: the trace ends at 0 ms; it needs at least one "
            "delivery after the start"
        )
    # Runs of milliseconds with the same number of packets become one piece.
    ends_ms, packets = np.unique(np.maximum(stamps_ms, 1), return_counts=True)
    starts = np.unique(np.concatenate([[0], ends_ms - 1, ends_ms[:-1]]))
    rates = np.zeros(len(starts))
    rates[np.searchsorted(starts, ends_ms - 1)] = packets * (MAHIMAHI_PACKET_BYTES * 8 / 1e-3)
    return LinkTrace(starts / 1e3, rates, previous / 1e3, path.name, rate_window_s=0.5)
